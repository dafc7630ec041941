package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/cmd/testbed/started"
)

const readme = "../../README.md"

// TestREADME runs the README's tour and compares what it prints. With -update, it writes that.
func TestREADME(t *testing.T) {
	for _, program := range []string{"sh", "python3"} {
		started.Program(t, program)
	}
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	tour := newTour(t)
	var got strings.Builder
	for line := range strings.Lines(string(text)) {
		switch {
		case line == "```console\n":
			tour.inside = true
		case line == "```\n":
			tour.inside = false
		case tour.inside && !strings.HasPrefix(line, "$ "):
			continue // what the command before is expected to print
		}
		got.WriteString(line)
		if command, ok := strings.CutPrefix(line, "$ "); ok && tour.inside {
			got.WriteString(tour.run(command))
		}
	}
	if *update {
		if err := os.WriteFile(readme, []byte(got.String()), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), got.String()); diff != "" {
		t.Errorf("README.md does not show what the commands print; go test ./cmd/flowship -update writes it (-README +printed):\n%s", diff)
	}
	if len(tour.ran) < 10 {
		t.Errorf("the README has only %d examples: %q", len(tour.ran), tour.ran)
	}
}

// changing is what is different each time, and what is shown in its place.
var changing = []struct {
	pattern *regexp.Regexp
	shown   string
}{
	{regexp.MustCompile(`\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`), "289ed969-66db-4edd-8e9d-36cf0a2ca6ca"},
	{regexp.MustCompile(`(?m)^[0-9a-f]{8}\b`), "289ed969"},
	{regexp.MustCompile(`\b[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}\b`), "15:04:05.123"},
	{regexp.MustCompile(`time=[0-9-]{10}T[0-9:.]+Z`), "time=2026-11-21T15:04:05.123Z"},
	{regexp.MustCompile(`"?worker [a-z]+-[a-z]+"?`), `"worker brave-heron"`},
	{regexp.MustCompile(`\b[0-9.]+(ms|s)\b(?m)$`), "12ms"},
}

// tour runs one command line after the other in a copy of the sample flow.
type tour struct {
	t      *testing.T
	dir    string
	inside bool
	ran    []string
}

func newTour(t *testing.T) *tour {
	dir := filepath.Join(t.TempDir(), "wordcount")
	if err := os.CopyFS(dir, os.DirFS("../../testdata/flows/wordcount")); err != nil {
		t.Fatal(err)
	}
	// The checkout's umask must not show in the digests.
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if filepath.Ext(path) == ".sh" {
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return &tour{t: t, dir: dir}
}

// run returns what a terminal would show, with ids and times of the day that do not change.
func (r *tour) run(command string) string {
	r.ran = append(r.ran, command)
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "FLOWSHIP_HOME="+filepath.Join(r.dir, ".home"), "PREFECT_API_URL=")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); cmd.ProcessState == nil {
		r.t.Fatalf("%s: %v", command, err)
	}
	text := out.String()
	for _, c := range changing {
		text = c.pattern.ReplaceAllString(text, c.shown)
	}
	return text
}

// The README's first command, with an empty home.
func TestREADMEMainJob(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```sh\n")
	command, _, _ := strings.Cut(rest, "\n")
	if !strings.HasPrefix(command, "go run ./cmd/flowship run ") {
		t.Fatalf("the README begins with %q", command)
	}
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = "../.."
	cmd.Env = append(withoutFlowship(os.Environ()), "FLOWSHIP_HOME="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, &stderr)
	}
	const want = `{"lines":76,"words":{"gettysburg":281,"jabberwocky":169,"sonnet18":117},`
	if !strings.HasPrefix(string(out), want) {
		t.Errorf("%s printed %s, want %s…", command, out, want)
	}
}

// The README's program compiles and does what it says.
func TestREADMEProgram(t *testing.T) {
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```go\n")
	program, _, _ := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("the README shows no program")
	}
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	place, err := filepath.Abs("../../testdata/flows/readme/main.go") // in the module, as far as go build can see
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {place: source}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	// Trimmed, the program does not know where its source was, and takes the working directory.
	build := exec.Command("go", "build", "-trimpath", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "./testdata/flows/readme")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.Command(binary)
	cmd.Dir = "../.."
	cmd.Env = append(withoutFlowship(os.Environ()), "FLOWSHIP_HOME="+filepath.Join(dir, "home"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if out, err := cmd.Output(); err != nil || string(out) != "true\n" {
		t.Errorf("it printed %q (%v)\n%s", out, err, &stderr)
	}
}

func withoutFlowship(environ []string) []string {
	return slices.DeleteFunc(environ, func(v string) bool { return strings.HasPrefix(v, "FLOWSHIP_") || strings.HasPrefix(v, "PREFECT_") })
}
