//go:build unix

package execute_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// TestMain has the test program be the program of the Go flows as well.
func TestMain(m *testing.M) {
	if name := os.Getenv("FLOWSHIP_FLOW"); name != "" {
		os.Exit(flow(name))
	}
	os.Exit(m.Run())
}

func flow(name string) int {
	write := func(variable, text string) {
		if err := os.WriteFile(os.Getenv(variable), []byte(text), 0o600); err != nil {
			panic(err)
		}
	}
	switch name {
	case "answer":
		parameters, _ := os.ReadFile(os.Getenv("FLOWSHIP_PARAMETERS_FILE"))
		dir, _ := os.Getwd()
		entries, _ := os.ReadDir(dir)
		fmt.Println(os.Getenv("FLOWSHIP_FLOW"), os.Getenv("FLOWSHIP_CHECK"), len(os.Args), len(entries))
		write("FLOWSHIP_RESULT", string(parameters))
	case "fail":
		write("FLOWSHIP_FAILURE", `parameter "count": want int, got "few"`)
		return 1
	case "panic":
		done := make(chan bool)
		go func() { panic("in another goroutine") }()
		<-done
	case "exit":
		return 0
	case "leave":
		return 3
	case "late":
		write("FLOWSHIP_RESULT", "1")
		return 3
	case "nothing":
		write("FLOWSHIP_RESULT", "null")
	case "no json":
		write("FLOWSHIP_RESULT", "{")
	}
	return 0
}

// goFlow stores a bundle of this program's flow of the name.
func goFlow(t *testing.T, name string, program bundle.Program) *stored {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if program.Key == "" {
		program.Key = fmt.Sprintf("programs/%x", sha256.Sum256(content))
	}
	inv := bundle.Invocation{Runtime: bundle.RuntimeGo, Entrypoint: "path/dir:" + name, Program: &program}
	s := store(t, map[string]string{"words": "a b\n"}, inv, execute.FlowRun{Parameters: json.RawMessage(`{"n":1}`)})
	path := filepath.Join(s.dir, filepath.FromSlash(program.Key))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestGo(t *testing.T) {
	t.Setenv("FLOWSHIP_CHECK", "1") // left of something else
	for _, test := range []struct{ flow, state, message, result, out, errOut string }{
		{"answer", "Completed", "", `{"n":1}`, "answer  1 1\n", ""},
		{"nothing", "Completed", "", "null", "", ""},
		{"fail", "Failed", `parameter "count": want int, got "few"`, "", "", ""},
		{"panic", "Crashed", "the flow ended its process before it returned, exit code 2", "", "", "panic: in another goroutine\n"},
		{"exit", "Crashed", "the flow ended its process before it returned, exit code 0", "", "", ""},
		{"leave", "Crashed", "the flow ended its process before it returned, exit code 3", "", "", ""},
		{"late", "Crashed", "the flow ended its process when it had returned, exit code 3", "", "", ""},
		{"no json", "Failed", "the result that the flow returned is not JSON: unexpected end of JSON input", "", "", ""},
	} {
		t.Run(test.flow, func(t *testing.T) {
			o := goFlow(t, test.flow, bundle.Program{OS: runtime.GOOS, Arch: runtime.GOARCH}).run(t, execute.Options{})
			if o.err != nil {
				t.Fatal(o.err)
			}
			got := []string{o.record.State.Name, o.record.State.Message, string(o.record.Result), o.out}
			if diff := cmp.Diff([]string{test.state, test.message, test.result, test.out}, got); diff != "" {
				t.Errorf("state, message, result, output (-want +got):\n%s", diff)
			}
			if !strings.HasPrefix(o.errOut, test.errOut) || test.errOut == "" && o.errOut != "" {
				t.Errorf("errors %q, want %q", o.errOut, test.errOut)
			}
			if code := o.record.ExitCode; (code == 0) != (test.state == "Completed") {
				t.Errorf("code %d", code)
			}
		})
	}
}

func TestGoRefused(t *testing.T) {
	here := bundle.Program{OS: runtime.GOOS, Arch: runtime.GOARCH}
	for _, test := range []struct {
		name, flow string
		program    bundle.Program
		want       string
	}{
		{"another system", "answer", bundle.Program{OS: "plan9", Arch: runtime.GOARCH}, fmt.Sprintf("its program is for plan9/%s, and this is %[2]s/%[1]s", runtime.GOARCH, runtime.GOOS)},
		{"no flow", "", here, `its entrypoint "path/dir:" is not of the form path/dir:name`},
		{"no digest", "answer", bundle.Program{Key: "programs/x", OS: runtime.GOOS, Arch: runtime.GOARCH}, `its program "programs/x": `},
		{"another place", "answer", bundle.Program{Key: "files/x", OS: runtime.GOOS, Arch: runtime.GOARCH}, `program key "files/x" is not programs/<64 hex>`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := goFlow(t, test.flow, test.program)
			o := s.run(t, execute.Options{})
			if bundle.KindOf(o.err) != bundle.KindRefused || !strings.Contains(o.err.Error(), test.want) || o.record.ExitCode != execute.ExitRefused {
				t.Errorf("code %d, %v; want %q", o.record.ExitCode, o.err, test.want)
			}
			wantEmpty(t, s.work)
		})
	}
}

func TestGoTampered(t *testing.T) {
	s := goFlow(t, "answer", bundle.Program{OS: runtime.GOOS, Arch: runtime.GOARCH})
	found, err := filepath.Glob(filepath.Join(s.dir, "programs", "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	content, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(content)
	changed[len(changed)-1] ^= 1
	for _, content := range [][]byte{changed, content[:len(content)-1], nil} {
		if err := os.WriteFile(found[0], content, 0o600); err != nil {
			t.Fatal(err)
		}
		o := s.run(t, execute.Options{})
		if bundle.KindOf(o.err) != bundle.KindTampered || o.record.ExitCode != execute.ExitRefused || o.record.State.Type != orchestrator.TypeCrashed {
			t.Errorf("%+v, %v", o.record, o.err)
		}
		if diff := cmp.Diff([]string{"Pending", "Crashed"}, o.states); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		wantEmpty(t, s.work)
	}
	os.Remove(found[0])
	if o := s.run(t, execute.Options{}); o.record.ExitCode != execute.ExitNotFound {
		t.Errorf("%+v, %v", o.record, o.err)
	}
}
