//go:build unix

package submit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
)

func needPython(t *testing.T) string {
	t.Helper()
	t.Setenv("PREFECT_API_URL", "")
	return started.Program(t, "python3")
}

func TestPython(t *testing.T) {
	needPython(t)
	b := newBed(t)
	var out, errs bytes.Buffer
	inv := submit.Invocation{
		Runtime:    bundle.RuntimePython,
		Entrypoint: "flow.py:add_up",
		Dir:        tree(t, map[string]string{"flow.py": "from steps import numbers\ndef add_up(least: int = 0):\n    print('adding')\n    return sum(n for n in numbers() if n >= least)\n", "steps.py": "def numbers(): return map(int, open('data/numbers'))\n", "data/numbers": "1\n2\n3\n"}),
		Include:    []string{"data/"},
		Parameters: json.RawMessage(`{"least": 2}`),
		Stdout:     &out,
		Stderr:     &errs,
	}
	run := b.run(t, inv)
	if run.ExitCode != 0 || run.State.Type != orchestrator.TypeCompleted || string(run.Result) != "5" || out.String() != "adding\n" || errs.String() != "" {
		t.Errorf("%+v, output %q, errors %q", run, out.String(), errs.String())
	}

	opened, cleanup, err := b.client.OpenBundle(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	cleanup()
	paths := []string{}
	for _, e := range opened.Document.Flowship.Files {
		paths = append(paths, e.Path)
	}
	if diff := cmp.Diff([]string{"data/numbers", "flow.py", "steps.py"}, paths); diff != "" || !opened.Document.Flowship.Source {
		t.Errorf("source %v, files (-want +got):\n%s", opened.Document.Flowship.Source, diff)
	}
	if got := b.flow(t, run.ID); got != "add-up" {
		t.Errorf("the flow is %q", got)
	}

	inv.NoSource = true
	if run = b.run(t, inv); run.ExitCode != 1 || run.State.Message != `the flow file "flow.py" is not there` {
		t.Errorf("without its source: %+v", run)
	}
}

// flow returns the name of the run's flow.
func (b *bed) flow(t *testing.T, id string) string {
	t.Helper()
	runs, err := local.Open(t.Context(), filepath.Join(b.home, "flowship.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer runs.Close()
	run, err := runs.FlowRun(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return run.Flow
}

// An interpreter that is named by a relative path is the one that the caller sees.
func TestPythonByRelativePath(t *testing.T) {
	python := needPython(t)
	b := newBed(t)
	dir := tree(t, map[string]string{"flow.py": "import os\ndef main(): return os.environ['FLOWSHIP_TEST_CHOSEN']\n"})
	t.Chdir(t.TempDir())
	if err := os.WriteFile("chosen", []byte("#!/bin/sh\nFLOWSHIP_TEST_CHOSEN=yes exec '"+python+"' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FLOWSHIP_PYTHON", "./chosen")
	run := b.run(t, submit.Invocation{Runtime: bundle.RuntimePython, Entrypoint: "flow.py:main", Dir: dir})
	if string(run.Result) != `"yes"` {
		t.Errorf("%+v", run)
	}
}

func TestPythonIsCancelled(t *testing.T) {
	needPython(t)
	b := newBed(t)
	note := filepath.Join(t.TempDir(), "pid")
	dir := tree(t, map[string]string{"flow.py": "import os, time\ndef main(note):\n  open(note, 'w').write(f'{os.getpid()}\\n')\n  while True: time.sleep(600)\n"})
	parameters, err := json.Marshal(map[string]string{"note": note})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	done := make(chan int, 1)
	go func() {
		pid := pidIn(t, note)
		cancel(errors.New("enough"))
		done <- pid
	}()
	run, err := b.client.Run(ctx, submit.Invocation{Runtime: bundle.RuntimePython, Entrypoint: "flow.py:main", Dir: dir, Parameters: parameters})
	pid := <-done
	if err != nil {
		t.Fatal(err)
	}
	if run.ExitCode != 130 || run.State.Type != orchestrator.TypeCancelled {
		t.Errorf("code %d, %+v", run.ExitCode, run.State)
	}
	until(t, "the flow is gone", func() bool { return gone(pid) })
	b.wantTidy(t)
}

func TestInvocationsThatCannotBeMeant(t *testing.T) {
	b := newBed(t)
	for want, inv := range map[string]submit.Invocation{
		"no command":                       {},
		"no entrypoint":                    {Runtime: bundle.RuntimePython},
		"both an entrypoint and a command": {Runtime: bundle.RuntimePython, Entrypoint: "f.py:main", Command: []string{"true"}},
		"a Go flow needs its program":      {Runtime: bundle.RuntimeGo, Entrypoint: "main"},
		`runtime "cobol" cannot be run`:    {Runtime: "cobol", Entrypoint: "main"},
		"retries -1 is negative":           {Command: []string{"true"}, Retries: -1},
	} {
		if _, err := b.client.Run(t.Context(), inv); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", inv, err, want)
		}
	}
	if _, err := os.Stat(b.home); err == nil {
		t.Error("something was stored")
	}
}
