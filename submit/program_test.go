package submit

import (
	"bytes"
	"debug/elf"
	"debug/pe"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/processinfra"
	"github.com/flowship/flowship/submit/execute/executor"
)

// source writes a package main whose program prints where it was built, as far as it knows.
func source(t *testing.T, dir, code string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"go.mod": "module example.com/hello\n\ngo 1.26\n", "main.go": code} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const hello = "package main\n\nimport \"runtime\"\n\nfunc main() {\n\t_, file, _, _ := runtime.Caller(0)\n\tprintln(\"hello\", file)\n}\n"

func TestBuildProgram(t *testing.T) {
	a, b := source(t, filepath.Join(t.TempDir(), "a"), hello), source(t, filepath.Join(t.TempDir(), "else where"), hello)
	opts := &BuildOptions{Cache: t.TempDir()}
	first, err := BuildProgram(t.Context(), a, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOFLAGS", "-trimpath=false -ldflags=-s -p=1")
	t.Setenv("CGO_ENABLED", "1")
	second, err := BuildProgram(t.Context(), filepath.Join(b, "main.go"), opts)
	if err != nil {
		t.Fatal(err)
	}
	if first.Path == second.Path || !bytes.Equal(content(t, first.Path), content(t, second.Path)) {
		t.Errorf("%s and %s differ", first.Path, second.Path)
	}
	if out, err := exec.Command(first.Path).CombinedOutput(); err != nil || string(out) != "hello example.com/hello/main.go\n" {
		t.Errorf("%q, %v", out, err)
	}
	before, err := os.Stat(first.Path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := BuildProgram(t.Context(), a, opts)
	if err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(again.Path); err != nil || !os.SameFile(before, after) {
		t.Errorf("what is up to date was built again (%v)", err)
	}
	if diff := cmp.Diff(first, again, cmpopts.IgnoreUnexported(Program{})); diff != "" {
		t.Errorf("again (-first +again):\n%s", diff)
	}
	built, err := fs.Glob(os.DirFS(opts.Cache), "programs/*/*")
	if err != nil || len(built) != 2 {
		t.Errorf("the cache holds %v (%v)", built, err)
	}
}

// TestBuildProgramAgain: whoever has the last executable in use keeps what it was.
func TestBuildProgramAgain(t *testing.T) {
	dir, opts := source(t, t.TempDir(), hello), &BuildOptions{Cache: t.TempDir()}
	p, err := BuildProgram(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	was := content(t, p.Path)
	f, err := os.Open(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	source(t, dir, strings.Replace(hello, "hello", "goodbye", 1))
	if p, err = BuildProgram(t.Context(), dir, opts); err != nil {
		t.Fatal(err)
	}
	held, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(was, held) {
		t.Errorf("the program that was in use is another one (%v)", err)
	}
	if out, err := exec.Command(p.Path).CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "goodbye ") {
		t.Errorf("%q, %v", out, err)
	}
}

func content(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBuildProgramForOthers(t *testing.T) {
	dir, opts := source(t, t.TempDir(), hello), BuildOptions{Cache: t.TempDir()}
	opts.OS, opts.Arch = "linux", "arm64"
	p, err := BuildProgram(t.Context(), dir, &opts)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(p.Path)
	if err != nil || f.Machine != elf.EM_AARCH64 || p.OS != "linux" || p.Arch != "arm64" {
		t.Errorf("%+v: %v", p, err)
	}
	f.Close()
	opts.OS, opts.Arch = "windows", "amd64"
	if p, err = BuildProgram(t.Context(), dir, &opts); err != nil {
		t.Fatal(err)
	}
	w, err := pe.Open(p.Path)
	if err != nil || filepath.Ext(p.Path) != ".exe" {
		t.Fatalf("%+v: %v", p, err)
	}
	w.Close()
}

func TestBuildProgramFails(t *testing.T) {
	dir, opts := t.TempDir(), &BuildOptions{Cache: t.TempDir()}
	var printed bytes.Buffer
	opts.Stderr = &printed
	broken := source(t, filepath.Join(dir, "broken"), "package main\n\nfunc main() { undefined() }\n")
	library := source(t, filepath.Join(dir, "library"), "package library\n")
	note := filepath.Join(dir, "note")
	if err := os.WriteFile(note, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		dir  string
		want string // in the error
		is   error
	}{
		{broken, "exit status 1\n# example.com/hello\n./main.go:3:15: undefined: undefined", nil},
		{library, "no main packages", nil},
		{filepath.Join(dir, "none"), "none", fs.ErrNotExist},
		{note, "neither a directory nor a file of Go", nil},
	} {
		_, err := BuildProgram(t.Context(), test.dir, opts)
		if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: %v", test.dir, err)
		}
	}
	if !strings.Contains(printed.String(), "undefined: undefined") {
		t.Errorf("printed %q", printed.String())
	}
	t.Setenv("PATH", dir)
	if _, err := BuildProgram(t.Context(), broken, opts); !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "it takes Go to build a program") {
		t.Errorf("without go: %v", err)
	}
	built, err := fs.Glob(os.DirFS(opts.Cache), "programs/*/*")
	if err != nil || len(built) != 0 {
		t.Errorf("the cache holds %v (%v)", built, err)
	}
}

func TestOwnExecutor(t *testing.T) {
	home := t.TempDir()
	argv, err := OwnExecutor(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if len(argv) != 2 || argv[1] != "step" || !strings.HasPrefix(argv[0], home) || !bytes.Equal(content(t, own), content(t, argv[0])) {
		t.Errorf("%q", argv)
	}
	again, err := OwnExecutor(t.Context(), home)
	if diff := cmp.Diff(argv, again); diff != "" || err != nil {
		t.Errorf("again: %v (-first +again):\n%s", err, diff)
	}
	entries, err := os.ReadDir(filepath.Dir(argv[0]))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}

	// Copies that nobody uses go with the next new one, and not before their time.
	copies := filepath.Dir(filepath.Dir(argv[0]))
	for name, age := range map[string]time.Duration{"old": keptFor + time.Hour, "recent": keptFor - time.Hour, filepath.Base(filepath.Dir(argv[0])): keptFor + time.Hour} {
		path, then := filepath.Join(copies, name), time.Now().Add(-age)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OwnExecutor(t.Context(), home); err != nil { // is used again
		t.Fatal(err)
	}
	if err := os.Truncate(argv[0], 10); err != nil { // by a power failure
		t.Fatal(err)
	}
	if _, err := OwnExecutor(t.Context(), home); err != nil || !bytes.Equal(content(t, own), content(t, argv[0])) {
		t.Errorf("it stays damaged (%v)", err)
	}
	if err := os.Remove(argv[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := OwnExecutor(t.Context(), home); err != nil { // and copied again
		t.Fatal(err)
	}
	_, oldErr := os.Stat(filepath.Join(copies, "old"))
	_, recentErr := os.Stat(filepath.Join(copies, "recent"))
	if _, err := os.Stat(argv[0]); err != nil || !errors.Is(oldErr, fs.ErrNotExist) || recentErr != nil {
		t.Errorf("%v; old: %v; recent: %v", err, oldErr, recentErr)
	}
}

func TestProgramOfFlow(t *testing.T) {
	f := known(NewFlow("train", noTraining), newShelf())
	p, err := f.definition.program(t.Context(), launch.Host())
	if err != nil || p.OS != runtime.GOOS || p.Arch != runtime.GOARCH || p.known.Size != int64(len(content(t, p.Path))) {
		t.Errorf("%+v, %v", p, err)
	}
	if again, err := f.definition.program(t.Context(), launch.Host()); err != nil || again.known != p.known {
		t.Errorf("its bytes were read again: %+v, %v", again, err)
	}

	t.Setenv("FLOWSHIP_HOME", t.TempDir())
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	main := filepath.Join(source(t, t.TempDir(), hello), "main.go")
	f.definition.main.Store(&main)
	p, err = f.definition.program(t.Context(), launch.Platform{OS: "linux", Arch: other})
	if err != nil || p.OS != "linux" || p.Arch != other {
		t.Fatalf("%+v, %v", p, err)
	}
	e, err := elf.Open(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	e.Close()

	for file, want := range map[string]string{
		"/somewhere/main_test.go":   "a test program cannot be built for another platform",
		"example.com/train/main.go": "find the source of package ",
	} {
		f.definition.main.Store(&file)
		if _, err := f.definition.program(t.Context(), launch.Platform{OS: "linux", Arch: other}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// What tells an executor where it runs is said by those who launch, who do not know the executor.
func TestEnvironmentOfExecutors(t *testing.T) {
	got := []string{executor.EnvScratch, executor.EnvStop}
	if diff := cmp.Diff([]string{processinfra.EnvScratch, processinfra.EnvStop}, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}
