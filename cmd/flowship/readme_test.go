package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const readme = "../../README.md"

// TestREADME runs the README's tour and compares what it prints. With -update, it writes that.
func TestREADME(t *testing.T) {
	for _, program := range []string{"sh", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s to run the README's examples with", program)
		}
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

// run returns what a terminal would show.
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
	return out.String()
}
