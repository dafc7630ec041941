//go:build unix

package execute_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

func needPython(t *testing.T) {
	t.Helper()
	started.Program(t, "python3")
	t.Setenv("PREFECT_API_URL", "") // the tests may run beside a server
}

func python(entrypoint string) bundle.Invocation {
	return bundle.Invocation{Runtime: bundle.RuntimePython, Entrypoint: entrypoint}
}

// runPython runs flow.py:main with the source and the parameters.
func runPython(t *testing.T, source, parameters string) *outcome {
	t.Helper()
	files := map[string]string{"flow.py": source, "words.py": "def one(): return 'uno'\ndef fail(): raise KeyError('two')\n", "data.txt": "42\n"}
	o := store(t, files, python("flow.py:main"), execute.FlowRun{Parameters: json.RawMessage(parameters)}).run(t, execute.Options{})
	if o.err != nil {
		t.Fatal(o.err)
	}
	return o
}

func TestPythonReturns(t *testing.T) {
	needPython(t)
	for _, test := range []struct{ name, source, parameters, out, result string }{
		{"a local module and a file", "import words\ndef main(): return [words.one(), int(open('data.txt').read())]", "{}", "", `["uno",42]`},
		{"nothing", "def main(): print('hi', 'ö')", "{}", "hi ö\n", "null"},
		{"async", "import asyncio\nasync def main(n):\n  await asyncio.sleep(0)\n  return n + 1", `{"n": 1}`, "", "2"},
		{"a Prefect flow", "class Flow:\n  def __init__(self, fn): self.fn = fn\n  def __call__(self): raise Exception\n@Flow\ndef main(n: int): return n", `{"n": 1}`, "", "1"},
		{"named as in Prefect", "def main(): return __name__\nif __name__ == '__main__': raise Exception", "{}", "", `"flow"`},
		{"relative import", "from .words import one\ndef main(): return one()", "{}", "", `"uno"`},
		{"arguments", "import sys, os\ndef main(): return [sys.argv, sys.stdin.read(), 'FLOWSHIP_RESULT' in os.environ, os.environ['FLOWSHIP_PARAMETERS']]", "{}", "", `[["flow.py"],"",false,"{}"]`},
		{"path", "import sys, os\ndef main(): return [sys.path[:2] == [os.getcwd()] * 2, any('runner.py' in os.listdir(p) for p in sys.path if os.path.isdir(p))]", "{}", "", "[true,false]"},
		{"every kind", "def main(a, /, b, *args, c=3, **kw): return [a, b, args, c, kw]", `{"a": 1, "b": 2, "args": [3, 4], "kw": {"x": 5}}`, "", `[1,2,[3,4],3,{"x":5}]`},
		{"plain types", "def main(i: int, f: float, s: str, b: bool, l: list, d: dict): return [i, f, s, b, l, d]",
			`{"i": 2.0, "f": 1, "s": "x", "b": true, "l": [1], "d": {"a": null}}`, "", `[2,1.0,"x",true,[1],{"a":null}]`},
		{"nested types", "from __future__ import annotations\nfrom typing import *\ndef main(x: List[float], y: Dict[str, List[int]], z: Optional[str], u: Union[float, int]): return [x, y, z, u]",
			`{"x": [1], "y": {"a": [1]}, "z": null, "u": 7}`, "", `[[1.0],{"a":[1]},null,7]`},
		{"other types", "import typing\nif typing.TYPE_CHECKING: from x import Y\ndef main(a: 'Y', b: tuple, c: object): return [a, b, c]", `{"a": 1, "b": [2], "c": {}}`, "", `[1,[2],{}]`},
		{"odd annotations", "class A:\n  def __eq__(self, x): raise Exception\ndef main(a: A(), b: 3, *c: [1], d: 'n o n e' = 4): return [a, b, c, d]", `{"a": 1, "b": 2, "c": [3], "d": 5}`, "", `[1,2,[3],5]`},
		{"annotated", "from typing import *\ndef main(n: Annotated[float, 'x'], l: list = None, *, o: None): return [n, l, o]", `{"n": 1, "o": null}`, "", `[1.0,null,null]`},
		{"text", `def main(s): return {"<é>": s, "half": "\ud800"}`, `{"s": "\u2028&"}`, "", `{"<\u00e9>":"\u2028&","half":"\ud800"}`},
		{"text that is UTF-8", "def main(s): return '<' + s", `{"s": "é"}`, "", `"<é"`},
		{"a dataclass", "from dataclasses import dataclass\n@dataclass\nclass P:\n  x: int\n  y: list\ndef main(): return [P(1, [P(2, [])])]", "{}", "", `[{"x":1,"y":[{"x":2,"y":[]}]}]`},
		{"a model", "class M:\n  def model_dump(self, mode): return {'mode': mode}\ndef main(): return M()", "{}", "", `{"mode":"json"}`},
		{"a large number", "def main(n): return n", `{"n": 123456789012345678901234567890}`, "", "123456789012345678901234567890"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := runPython(t, test.source, test.parameters)
			got := []string{o.record.State.Name, o.record.State.Message, o.out, o.errOut, string(o.record.Result)}
			if diff := cmp.Diff([]string{"Completed", "", test.out, "", test.result}, got); diff != "" || o.record.ExitCode != 0 {
				t.Errorf("code %d; state, message, output, errors, result (-want +got):\n%s", o.record.ExitCode, diff)
			}
			if diff := cmp.Diff([]string{"Pending", "Running", "Completed"}, o.states); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPythonFails(t *testing.T) {
	needPython(t)
	for _, test := range []struct {
		name, source, parameters string
		state, message           string
		errOut                   string // its end
	}{
		{"an exception", "class Gone(Exception): pass\ndef main():\n  raise Gone('a < b')", "{}", "Failed", "flow.Gone: a < b", "flow.Gone: a < b\n"},
		{"without a text", "def main(): raise ValueError", "{}", "Failed", "ValueError", "ValueError\n"},
		{"of several lines", "def main(): raise ValueError('a\\nb')", "{}", "Failed", "ValueError: a\nb", "ValueError: a\nb\n"},
		{"in a module", "import words\ndef main(): words.fail()", "{}", "Failed", "KeyError: 'two'", "KeyError: 'two'\n"},
		{"async", "async def main(): raise ValueError(1)", "{}", "Failed", "ValueError: 1", "ValueError: 1\n"},
		{"on import", "import nonesuch", "{}", "Failed", "ModuleNotFoundError: No module named 'nonesuch'", "ModuleNotFoundError: No module named 'nonesuch'\n"},
		{"syntax", "def main(:", "{}", "Failed", "SyntaxError: invalid syntax (flow.py, line 1)", "SyntaxError: invalid syntax\n"},
		{"a text that fails", "class E(Exception):\n  def __str__(self): raise E\ndef main(): raise E", "{}", "Failed", "flow.E: <its text cannot be had>", ">\n"},
		{"with another stderr", "import io, sys\ndef main():\n  sys.stderr = io.StringIO()\n  raise ValueError(1)", "{}", "Failed", "ValueError: 1", "ValueError: 1\n"},
		{"a long text", "def main(): raise ValueError('x' * 9000)", "{}", "Failed", "ValueError: " + strings.Repeat("x", 4096-len("ValueError: ")) + "…", "x\n"},

		{"no such function", "def man(): pass", "{}", "Failed", `"flow.py" has no "main", did you mean "man"?`, ""},
		{"no function", "main = [1]", "{}", "Failed", `"flow.py:main" is not a function: its type is list`, ""},
		{"unknown parameter", "def main(path=1): pass", `{"paht": 1}`, "Failed", `unknown parameter "paht", did you mean "path"?`, ""},
		{"missing parameter", "def main(a, b, c=1, *d, **e): pass", `{"b": 1}`, "Failed", `missing parameter "a"`, ""},
		{"int", "def main(n: int): pass", `{"n": "3"}`, "Failed", `parameter "n": want int, got "3"`, ""},
		{"int, fraction", "def main(n: int): pass", `{"n": 2.5}`, "Failed", `parameter "n": want int, got 2.5`, ""},
		{"int, bool", "def main(n: int): pass", `{"n": true}`, "Failed", `parameter "n": want int, got true`, ""},
		{"float", "def main(n: float): pass", `{"n": null}`, "Failed", `parameter "n": want float, got null`, ""},
		{"float, overflow", "def main(n: float): pass", `{"n": 1` + strings.Repeat("0", 400) + `}`, "Failed", `parameter "n": want float, got 1` + strings.Repeat("0", 59) + "...", ""},
		{"str", "def main(n: str): pass", `{"n": 3}`, "Failed", `parameter "n": want str, got 3`, ""},
		{"bool", "def main(n: bool): pass", `{"n": 0}`, "Failed", `parameter "n": want bool, got 0`, ""},
		{"list", "def main(n: list): pass", `{"n": {}}`, "Failed", `parameter "n": want list, got {}`, ""},
		{"dict", "def main(n: dict): pass", `{"n": []}`, "Failed", `parameter "n": want dict, got []`, ""},
		{"item", "import typing\ndef main(n: typing.Dict[str, typing.List[int]]): pass", `{"n": {"a": [1, "x"]}}`, "Failed", `parameter "n.a[1]": want int, got "x"`, ""},
		{"union", "import typing\ndef main(n: typing.Optional[int]): pass", `{"n": "x"}`, "Failed", `parameter "n": want Optional[int], got "x"`, ""},
		{"args", "def main(*a: int, **k: str): pass", `{"a": [1, null], "k": {"x": 1}}`, "Failed", `parameter "a[1]": want int, got null; parameter "k.x": want str, got 1`, ""},
		{"args, no list", "def main(*a: int, **k): pass", `{"a": 1, "k": []}`, "Failed", `parameter "a": want list, got 1; parameter "k": want dict, got []`, ""},
		{"no signature", "main = type", "{}", "Failed", `the function does not say which parameters it has`, ""},
		{"several", "def main(a: int, b): pass", `{"a": [], "c": 1}`, "Failed", `unknown parameter "c"; parameter "a": want int, got []; missing parameter "b"`, ""},

		{"not a number", "def main(): return {'a': [float('nan')]}", "{}", "Failed", "the result is not JSON: it holds a float that is not a number, or infinite", ""},
		{"a set", "def main(): return [{1}]", "{}", "Failed", "the result is not JSON: it holds a value of type set", ""},
		{"a class of its own", "class C: pass\ndef main(): return C()", "{}", "Failed", "the result is not JSON: it holds a value of type flow.C", ""},
		{"a circle", "def main():\n  x = []\n  x.append(x)\n  return x", "{}", "Failed", "the result is not JSON: it holds itself", ""},
		{"a large result", "def main(): return 'x' * (64 << 20)", "{}", "Failed", "the result that the flow returned has 67108866 bytes, more than 67108864", ""},

		{"sys.exit", "import sys\ndef main(): sys.exit(3)", "{}", "Crashed", "the flow ended its process before it returned, exit code 3", ""},
		{"sys.exit, a text", "import sys\ndef main(): sys.exit('enough')", "{}", "Crashed", "the flow ended its process before it returned, exit code 1", "enough\n"},
		{"sys.exit, well", "import sys\nsys.exit()", "{}", "Crashed", "the flow ended its process before it returned, exit code 0", ""},
		{"os._exit", "import os\ndef main(): os._exit(0)", "{}", "Crashed", "the flow ended its process before it returned, exit code 0", ""},
		{"after it returned", "import os, atexit\ndef main(): atexit.register(os._exit, 3)", "{}", "Crashed", "the flow ended its process when it had returned, exit code 3", ""},
		{"killed", "import os, signal\ndef main(): os.kill(os.getpid(), signal.SIGKILL)", "{}", "Crashed", "the flow was ended by signal SIGKILL", ""},
		{"interrupted", "import os, signal\ndef main(): signal.raise_signal(signal.SIGINT)", "{}", "Crashed", "the flow was ended by signal SIGINT", "KeyboardInterrupt\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := runPython(t, test.source, test.parameters)
			got := []string{o.record.State.Name, o.record.State.Message, string(o.record.Result), o.out}
			if diff := cmp.Diff([]string{test.state, test.message, "", ""}, got); diff != "" || o.record.ExitCode != 1 {
				t.Errorf("code %d; state, message, result, output (-want +got):\n%s\n%s", o.record.ExitCode, diff, o.errOut)
			}
			if !strings.HasSuffix(o.errOut, test.errOut) || test.errOut == "" && o.errOut != "" {
				t.Errorf("errors %q, want %q", o.errOut, test.errOut)
			}
			for _, other := range []string{"runner.py", "asyncio", "importlib"} {
				if strings.Contains(o.errOut, other) {
					t.Errorf("frames that are not the flow's:\n%s", o.errOut)
				}
			}
		})
	}
}

// What a flow logs is kept and shown, whatever becomes of the process.
func TestPythonLogs(t *testing.T) {
	needPython(t)
	const source = `import logging, os, signal
log = logging.getLogger("etl.load")
def main():
    log.debug("no")
    log.info("%d rows of %s", 3, "<é>\ud800")
    logging.warning("careful")
    try: 1 / 0
    except ZeroDivisionError: log.exception("failed")
    logging.getLogger("quiet").setLevel(logging.CRITICAL)
    logging.getLogger("quiet").error("no")
    print("printed")
    os.kill(os.getpid(), signal.SIGKILL)
`
	j := &journal{}
	o := store(t, map[string]string{"flow.py": source}, python("flow.py:main"), execute.FlowRun{}).run(t, execute.Options{Logs: j})
	if o.err != nil || o.out != "printed\n" || o.record.State.Type != orchestrator.TypeCrashed {
		t.Errorf("%+v, %v, output %q", o.record, o.err, o.out)
	}
	lines, traceback := []string{}, ""
	for _, line := range j.lines() {
		line, rest, _ := strings.Cut(line, "\n")
		traceback += rest
		if !strings.HasPrefix(line, "stdout") { // in the order of its own
			lines = append(lines, line)
		}
	}
	want := []string{"etl.load 20 3 rows of <é>\uFFFD", "flow 30 careful", "etl.load 40 failed"}
	if diff := cmp.Diff(want, lines); diff != "" || !strings.HasSuffix(traceback, "\nZeroDivisionError: division by zero") {
		t.Errorf("logs (-want +got):\n%s%s", diff, traceback)
	}
	if !strings.Contains(o.errOut, " INFO  3 rows of <é>\uFFFD\n") || !strings.Contains(o.errOut, " WARN  careful\n") {
		t.Errorf("errors %q", o.errOut)
	}
}

// What was printed is not lost with the process.
func TestPythonPrintsAtOnce(t *testing.T) {
	needPython(t)
	t.Setenv("PYTHONUNBUFFERED", "")
	if o := runPython(t, "import os, signal\ndef main():\n  print('hi')\n  os.kill(os.getpid(), signal.SIGKILL)", "{}"); o.out != "hi\n" {
		t.Errorf("output %q", o.out)
	}
}

// A traceback begins with the flow's own frame.
func TestPythonTraceback(t *testing.T) {
	needPython(t)
	o := runPython(t, "import words\nasync def main():\n    words.fail()\n", "{}")
	lines := strings.Split(o.errOut, "\n")
	var got []string
	for _, line := range lines {
		if line != "" && strings.Trim(line, " ~^") == "" { // since 3.11
			continue
		}
		before, rest, ok := strings.Cut(line, `"`)
		if file, after, closed := strings.Cut(rest, `"`); ok && closed {
			line = before + filepath.Base(file) + after
		}
		got = append(got, line)
	}
	want := []string{
		"Traceback (most recent call last):",
		"  File flow.py, line 3, in main", "    words.fail()",
		"  File words.py, line 2, in fail", "    def fail(): raise KeyError('two')",
		"KeyError: 'two'", "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("traceback (-want +got):\n%s", diff)
	}
}

// A file may have the name of a module that is loaded already.
func TestPythonEntrypoints(t *testing.T) {
	needPython(t)
	files := map[string]string{"json.py": "class A:\n  @staticmethod\n  def b(): return 1\ndef c(): return __name__[:17]"}
	for entrypoint, want := range map[string]string{"json.py:A.b": "1", "json.py:c": `"__prefect_loader_"`} {
		o := store(t, files, python(entrypoint), execute.FlowRun{}).run(t, execute.Options{})
		if o.err != nil || string(o.record.Result) != want {
			t.Errorf("%s: %+v, %v\n%s", entrypoint, o.record, o.err, o.errOut)
		}
	}
	o := store(t, files, python("gone.py:c"), execute.FlowRun{}).run(t, execute.Options{})
	if want := `the flow file "gone.py" is not there`; o.record.State.Message != want || o.record.State.Type != orchestrator.TypeFailed {
		t.Errorf("%+v, want %s", o.record.State, want)
	}
}

func TestPythonTimeout(t *testing.T) {
	needPython(t)
	files := map[string]string{"flow.py": "import time\ndef main():\n  while True: time.sleep(600)"}
	o := store(t, files, python("flow.py:main"), execute.FlowRun{Timeout: 0.3}).run(t, execute.Options{Grace: 50 * time.Millisecond})
	if r := o.record; o.err != nil || r.State.Name != orchestrator.NameTimedOut || r.State.Message != "the flow ran longer than 300ms" || r.ExitCode != execute.ExitTimedOut {
		t.Errorf("%+v, %v", r, o.err)
	}
}

// The record holds the result as the flow wrote it.
func TestPythonRecord(t *testing.T) {
	needPython(t)
	s := store(t, map[string]string{"flow.py": "def main(): return '<é>&'"}, python("flow.py:main"), execute.FlowRun{})
	s.run(t, execute.Options{})
	if r := s.record(t); string(r.Result) != `"<é>&"` {
		t.Errorf("%+v", r)
	}
}

// Without what it needs, a flow is not even RUNNING.
func TestPythonIsNotThere(t *testing.T) {
	empty := t.TempDir()
	notAProgram := filepath.Join(empty, "python")
	if err := os.WriteFile(notAProgram, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name       string
		environ    []string
		entrypoint string
		want       error
		message    string
		code       int
	}{
		{"not in PATH", []string{"PATH=" + empty}, "f.py:main", execute.ErrNoPython, `neither "python3" nor "python" is in PATH`, 4},
		{"no PATH", []string{}, "f.py:main", execute.ErrNoPython, `neither "python3" nor "python" is in PATH`, 4},
		{"not as named", []string{"PATH=" + os.Getenv("PATH"), "FLOWSHIP_PYTHON=nonesuch"}, "f.py:main", execute.ErrNoPython, `"nonesuch", which FLOWSHIP_PYTHON names, is not there`, 4},
		{"not a program", []string{"FLOWSHIP_PYTHON=" + notAProgram}, "f.py:main", execute.ErrNoPython, "cannot be run", 4},
		{"a server", []string{"PATH=" + os.Getenv("PATH"), "PREFECT_API_URL=http://localhost:4200/api"}, "f.py:main", execute.ErrPrefectAPI, "PREFECT_API_URL is set", 5},
		{"outside", []string{"PATH=" + os.Getenv("PATH")}, "../f.py:main", nil, `"../f.py:main" is not of the form path/flow.py:name`, 3},
		{"a module", []string{"PATH=" + os.Getenv("PATH")}, "module.main", nil, `"module.main" is not of the form path/flow.py:name`, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := store(t, map[string]string{"f.py": "def main(): pass"}, python(test.entrypoint), execute.FlowRun{}).run(t, execute.Options{Environ: test.environ})
			if o.err == nil || test.want != nil && !errors.Is(o.err, test.want) || !strings.Contains(o.record.State.Message, test.message) || o.record.ExitCode != test.code {
				t.Errorf("code %d, %v; want code %d and %q", o.record.ExitCode, o.err, test.code, test.message)
			}
			if diff := cmp.Diff([]string{"Pending", "Crashed"}, o.states); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
		})
	}
}
