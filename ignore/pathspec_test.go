package ignore

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// question is one list of rules, or the text of one file, and the paths to judge by it.
type question struct {
	Lines [][]byte `json:"lines,omitempty"`
	File  []byte   `json:"file,omitempty"`
	Paths [][]byte `json:"paths"`
}

// answer holds what decides each path: the number of the line that does (from 0) and its sense. For a file, Patterns are its lines.
type answer struct {
	Error    bool     `json:"error"`
	Patterns [][]byte `json:"patterns"`
	Deciders []int    `json:"deciders"` // -1 for none
	Ignored  []bool   `json:"ignored"`
}

// pathspecServer answers questions, one JSON document a line, with the pathspec that Prefect uses. Bytes travel as base64 and become text as
// Python makes it of file names.
const pathspecServer = `
import base64, io, json, os, re, sys, warnings
import pathspec
warnings.simplefilter("ignore")
assert pathspec.__version__ == "1.1.1", pathspec.__version__
text = lambda b: os.fsdecode(base64.b64decode(b))
for line in sys.stdin:
    q = json.loads(line)
    a = {"error": False, "patterns": [], "deciders": [], "ignored": []}
    try:
        if q.get("file") is not None:
            raw = io.TextIOWrapper(io.BytesIO(base64.b64decode(q["file"])), encoding="utf-8").read()
            lines = [l for l in raw.splitlines() if l.strip() and not l.startswith("#")]
        else:
            lines = [text(l) for l in q.get("lines") or []]
        a["patterns"] = [base64.b64encode(os.fsencode(l)).decode() for l in lines]
        spec = pathspec.GitIgnoreSpec.from_lines(lines, backend="simple")
        for p in q["paths"]:
            p = pathspec.util.normalize_file(text(p))
            ignored, decider = spec._backend.match_file(p)
            a["deciders"].append(-1 if decider is None else decider)
            a["ignored"].append(bool(ignored))
    except (ValueError, re.error):
        a["error"] = True
    print(json.dumps(a), flush=True)
`

type pathspec struct {
	in  *bufio.Writer
	out *bufio.Scanner
}

// startPython starts a script in the Python that has Prefect, or skips the test if there is none.
func startPython(t testing.TB, script string, args ...string) *pathspec {
	cmd := exec.Command(started.Python(t), append([]string{"-c", script}, args...)...)
	cmd.Env = append(os.Environ(), "PYTHONUTF8=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	s := bufio.NewScanner(out)
	s.Buffer(nil, 1<<24)
	return &pathspec{bufio.NewWriter(in), s}
}

func (p *pathspec) ask(t testing.TB, q, a any) {
	t.Helper()
	data, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	p.in.Write(append(data, '\n'))
	if err := p.in.Flush(); err != nil {
		t.Fatal(err)
	}
	if !p.out.Scan() {
		t.Fatalf("no answer: %v", p.out.Err())
	}
	if err := json.Unmarshal(p.out.Bytes(), a); err != nil {
		t.Fatal(err)
	}
}

// crossCheckPaths is how many paths each profile judges; FLOWSHIP_TEST_PATHS asks for more.
func crossCheckPaths(t testing.TB) int {
	n, err := strconv.Atoi(os.Getenv("FLOWSHIP_TEST_PATHS"))
	if err != nil {
		return 4000
	}
	return n
}

func TestAgainstPathspec(t *testing.T) {
	py := startPython(t, pathspecServer)
	const perQuestion = 40
	for i, p := range profiles {
		t.Run(p.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(i), uint64(crossCheckPaths(t))))
			judged, decided := 0, 0
			for range crossCheckPaths(t) / perQuestion {
				lines := p.lines(r)
				paths := p.paths(r, lines, perQuestion)
				var want answer
				py.ask(t, question{Lines: raw(lines), Paths: raw(paths)}, &want)
				rules, err := Compile("", lines)
				if got := describe(rules, err, paths, func(r *Rule) int { return r.Line - 1 }); !same(t, want, got, lines, paths) {
					return
				}
				judged += len(want.Deciders)
				for _, d := range want.Deciders {
					if d >= 0 {
						decided++
					}
				}
			}
			t.Logf("%d paths judged, %d decided by a rule", judged, decided)
			if decided*10 < judged {
				t.Error("too few paths are decided by a rule for this to prove anything")
			}
		})
	}
}

func TestFilesAgainstPathspec(t *testing.T) {
	py := startPython(t, pathspecServer)
	ends := []string{"\n", "\r", "\r\n", "\f", "\v", "\x1c", "\x1d", "\x1e", "\x1f", "\u0085", "\u2028", "\u2029", "\n\n", "\n#", "\n #", "\ufeff", "\n \t\u3000\n", "\x1f\n"}
	r := rand.New(rand.NewPCG(1, 2))
	for range crossCheckPaths(t) / 10 {
		p := pick(r, profiles)
		var b strings.Builder
		lines := p.lines(r)
		for _, line := range lines {
			b.WriteString(line + pick(r, ends))
		}
		paths := p.paths(r, lines, 20)
		var want answer
		py.ask(t, question{File: []byte(b.String()), Paths: raw(paths)}, &want)
		rules, err := ParseFile(".prefectignore", []byte(b.String()))
		// Rules number the lines of the file, pathspec those that are left: compare what they say.
		got := describe(rules, err, paths, func(r *Rule) int {
			for i := len(want.Patterns) - 1; i >= 0; i-- {
				if string(want.Patterns[i]) == r.Pattern {
					return i
				}
			}
			return -2
		})
		for i, d := range want.Deciders {
			for j := len(want.Patterns) - 1; d >= 0 && j > d; j-- {
				if string(want.Patterns[j]) == string(want.Patterns[d]) {
					want.Deciders[i] = j
					break
				}
			}
		}
		if !same(t, want, got, []string{b.String()}, paths) {
			return
		}
	}
}

func raw(texts []string) [][]byte {
	b := make([][]byte, len(texts))
	for i, s := range texts {
		b[i] = []byte(s)
	}
	return b
}

func describe(rules *Rules, err error, paths []string, number func(*Rule) int) answer {
	a := answer{Error: err != nil, Deciders: []int{}, Ignored: []bool{}}
	if err != nil {
		return a
	}
	for _, path := range paths {
		v := rules.Match(path)
		decider := -1
		if v.Rule != nil {
			decider = number(v.Rule)
		}
		a.Deciders = append(a.Deciders, decider)
		a.Ignored = append(a.Ignored, v.Ignored)
	}
	return a
}

func same(t *testing.T, want, got answer, lines, paths []string) bool {
	t.Helper()
	if want.Error || got.Error {
		if want.Error != got.Error {
			t.Errorf("%q: error %v, pathspec %v", lines, got.Error, want.Error)
			return false
		}
		return true
	}
	for i, path := range paths {
		if want.Deciders[i] != got.Deciders[i] || want.Ignored[i] != got.Ignored[i] {
			t.Errorf("%q on %q: decided by %d, ignored %v; pathspec: by %d, %v",
				lines, path, got.Deciders[i], got.Ignored[i], want.Deciders[i], want.Ignored[i])
			return false
		}
	}
	return true
}

// filterServer runs Prefect's own filter on directories that have ignore files and gives back which of the paths are excluded.
const filterServer = `
import json, logging, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from prefect.bundles._ignore_filter import IgnoreFilter
for line in sys.stdin:
    q = json.loads(line)
    base = Path(q["base"])
    try:
        result = IgnoreFilter(base).filter([base / p for p in q["paths"]])
        out = sorted(str(f.relative_to(base)) for f in result.excluded_by_ignore)
        print(json.dumps({"error": "", "excluded": out}), flush=True)
    except Exception as e:
        print(json.dumps({"error": type(e).__name__, "excluded": []}), flush=True)
`

func TestCascadeAgainstPrefect(t *testing.T) {
	py := startPython(t, filterServer)
	r := rand.New(rand.NewPCG(3, 4))
	p := profile{
		atoms: []string{"a", "b", "src", "flows", ".csv"},
		globs: []string{"*", "**", "src/flows/", "flows/"},
		tails: []string{"", "/", "/*", "/**"},
	}
	for i := range 300 {
		root, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		base := filepath.Join(root, "src", "flows")
		files := map[string]string{"src/flows/x": ""}
		for name, chance := range map[string]int{"": 9, "src": 3, "src/flows": 8} {
			if r.IntN(10) < chance {
				files[filepath.Join(name, fileName)] = strings.Join(p.lines(r), "\n")
			}
		}
		files[filepath.Join(pick(r, []string{"", "", "", "src", "src/flows"}), "pyproject.toml")] = ""
		writeTree(t, root, files)
		var paths, got []string
		seen := map[string]bool{}
		for range 20 {
			if path := p.path(r); !seen[path] {
				seen[path] = true
				paths = append(paths, path)
			}
		}
		var want struct {
			Error    string
			Excluded []string
		}
		py.ask(t, map[string]any{"base": base, "paths": paths}, &want)
		ig, err := Load(base)
		if err != nil {
			if want.Error == "" {
				t.Fatalf("case %d: %v, Prefect has no error", i, err)
			}
			continue
		}
		for _, path := range paths {
			if ig.Match(path).Ignored {
				got = append(got, path)
			}
		}
		less := func(a, b string) bool { return a < b }
		if diff := cmp.Diff(want.Excluded, got, cmpopts.SortSlices(less), cmpopts.EquateEmpty()); diff != "" || want.Error != "" {
			t.Fatalf("case %d: %s\n%s\n%s", i, fmt.Sprintf("%q", files), want.Error, diff)
		}
	}
}
