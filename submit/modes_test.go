//go:build unix

package submit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/worker"
)

// ended waits for the run to end.
func (b *bed) ended(t *testing.T, id string) orchestrator.State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	state, err := b.client.Wait(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// work has the home's work pool served until the test ends, or once.
func (b *bed) work(t *testing.T, opts worker.Options) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.open(t).Work(ctx, opts) }()
	stopped := false
	stop = func() {
		cancel()
		if !stopped {
			stopped = true
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestSubmit(t *testing.T) {
	b := newBed(t)
	dir := t.TempDir()
	run, err := b.client.Submit(t.Context(), submit.Invocation{Command: []string{"sh", "-c", `
		while [ ! -e "$0/go" ]; do sleep 0.01; done
		echo done; echo '"well"' > $FLOWSHIP_RESULT`, dir}})
	if err != nil {
		t.Fatal(err)
	}
	if state, err := b.client.State(t.Context(), run.ID); err != nil || state.Type.Final() {
		t.Fatalf("it waits for a file, and is %v (%v)", state, err)
	}
	if _, err := b.client.Result(t.Context(), run.ID); !errors.Is(err, orchestrator.ErrUnfinished) {
		t.Errorf("result before the end: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if state := b.ended(t, run.ID); state.Type != orchestrator.TypeCompleted {
		t.Fatalf("ended %+v", state)
	}
	if result, err := b.client.Result(t.Context(), run.ID); err != nil || strings.TrimSpace(string(result)) != `"well"` {
		t.Errorf("result %s (%v)", result, err)
	}
	if diff := cmp.Diff([]string{"done"}, b.logs(t, run.ID)); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
}

func (b *bed) logs(t *testing.T, id string) []string {
	t.Helper()
	lines := []string{}
	for l, err := range b.client.Logs(t.Context(), id, nil) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l.Message)
	}
	return lines
}

func TestSubmitToWorkPool(t *testing.T) {
	b := newBed(t)
	var ids []string
	for i := range 5 {
		run, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{
			Command: sh("echo $1 > $FLOWSHIP_RESULT", fmt.Sprint(i)), JobVariables: map[string]any{"env": map[string]any{"N": "1"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if run.State.Type != orchestrator.TypeScheduled {
			t.Errorf("queued run is %v", run.State)
		}
		ids = append(ids, run.ID)
	}
	b.work(t, worker.Options{Limit: 2})
	for i, id := range ids {
		if state := b.ended(t, id); state.Type != orchestrator.TypeCompleted {
			t.Errorf("run %d ended %+v", i, state)
		}
		if result, err := b.client.Result(t.Context(), id); err != nil || strings.TrimSpace(string(result)) != fmt.Sprint(i) {
			t.Errorf("run %d: result %s (%v)", i, result, err)
		}
	}
	if diff := cmp.Diff([]string{"Scheduled", "Pending", "Submitting", "Running", "Completed"}, b.states(t, ids[0])); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// Somebody else asks for the end of a run, whoever looks after it.
func TestCancelFromElsewhere(t *testing.T) {
	for mode, begin := range map[string]func(*testing.T, *bed, submit.Invocation) string{
		"run": func(t *testing.T, b *bed, inv submit.Invocation) string {
			done := make(chan struct{})
			go func() { b.open(t).Run(context.Background(), inv); close(done) }()
			t.Cleanup(func() { <-done })
			return ""
		},
		"submit": func(t *testing.T, b *bed, inv submit.Invocation) string {
			if _, err := b.client.Submit(t.Context(), inv); err != nil {
				t.Fatal(err)
			}
			return ""
		},
		"submit-to-work-pool": func(t *testing.T, b *bed, inv submit.Invocation) string {
			if _, err := b.client.SubmitToWorkPool(t.Context(), inv); err != nil {
				t.Fatal(err)
			}
			b.work(t, worker.Options{})
			return ""
		},
	} {
		t.Run(mode, func(t *testing.T) {
			b := newBed(t)
			pidFile := filepath.Join(t.TempDir(), "pid")
			begin(t, b, submit.Invocation{Name: "long", Command: sh("echo $$ > $1; exec sleep 600", pidFile)})
			pid := pidIn(t, pidFile)
			state, err := b.open(t).Cancel(t.Context(), "long")
			if err != nil || state.Type != orchestrator.TypeCancelling {
				t.Fatalf("cancel: %+v, %v", state, err)
			}
			run := b.lastRun(t)
			if run.State.Type != orchestrator.TypeCancelled {
				t.Errorf("ended %+v", run.State)
			}
			until(t, "the command is gone", func() bool { return gone(pid) })
			ended := new(submit.EndedError)
			if _, err := b.client.Cancel(t.Context(), run.ID); !errors.As(err, &ended) {
				t.Errorf("cancelled again: %v", err)
			}
		})
	}
}

func TestCancelBeforeLaunch(t *testing.T) {
	b := newBed(t)
	run, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{Command: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	if state, err := b.client.Cancel(t.Context(), run.ID); err != nil || state.Type != orchestrator.TypeCancelled {
		t.Errorf("cancelled: %+v, %v", state, err)
	}
}

func TestRetries(t *testing.T) {
	b := newBed(t)
	counter := filepath.Join(t.TempDir(), "n")
	run := b.run(t, submit.Invocation{Retries: 2, Command: sh(`echo x >> "$1"; test $(wc -l < "$1") = 3`, counter)})
	if run.State.Type != orchestrator.TypeCompleted {
		t.Errorf("ended %+v", run.State)
	}
	want := []string{"Pending", "Running", "AwaitingRetry", "Retrying", "AwaitingRetry", "Retrying", "Completed"}
	if diff := cmp.Diff(want, b.states(t, run.ID)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// A run is run again on request, with the same bundle.
func TestRetry(t *testing.T) {
	b := newBed(t)
	counter := filepath.Join(t.TempDir(), "n")
	command := sh(`echo x >> "$1"; test $(wc -l < "$1") = 2`, counter)
	run := b.run(t, submit.Invocation{Command: command})
	if run.State.Type != orchestrator.TypeFailed || run.ExitCode != 1 {
		t.Fatalf("ended %+v", run.State)
	}
	again, err := b.client.Retry(t.Context(), run.ID)
	if err != nil || again.ID != run.ID {
		t.Fatalf("retry: %+v, %v", again, err)
	}
	if state := b.ended(t, run.ID); state.Type != orchestrator.TypeCompleted {
		t.Errorf("ended %+v", state)
	}
}

// Of several who want a run to be run again, one gets it.
func TestRetryAtOnce(t *testing.T) {
	b := newBed(t)
	counter, enough := filepath.Join(t.TempDir(), "n"), filepath.Join(t.TempDir(), "enough")
	command := sh(`echo x >> "$1"; [ $(wc -l < "$1") = 1 ] || until [ -e "$2" ]; do sleep 0.01; done`, counter, enough)
	for _, queued := range []bool{false, true} {
		var id string
		if queued {
			run, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{Command: command})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.client.Cancel(t.Context(), run.ID); err != nil {
				t.Fatal(err)
			}
			id = run.ID
		} else {
			id = b.run(t, submit.Invocation{Command: command}).ID
		}
		const several = 4
		var errs [several]error
		var all sync.WaitGroup
		for i := range several {
			client := b.open(t)
			all.Go(func() { _, errs[i] = client.Retry(t.Context(), id) })
		}
		all.Wait()
		again := 0
		for _, err := range errs {
			if err == nil {
				again++
			} else if !errors.Is(err, orchestrator.ErrUnfinished) {
				t.Error(err)
			}
		}
		want := []string{"Scheduled", "Cancelled", "Pending", "Scheduled"}
		if !queued {
			want = []string{"Pending", "Running", "Completed", "Pending", "Running", "Completed"}
			if err := os.WriteFile(enough, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			b.ended(t, id)
		}
		if diff := cmp.Diff(want, b.states(t, id)); diff != "" || again != 1 {
			t.Errorf("%d were to run it again, queued %t: states (-want +got):\n%s", again, queued, diff)
		}
	}
	if ran, err := os.ReadFile(counter); err != nil || string(ran) != "x\nx\n" {
		t.Errorf("it ran %q, %v", ran, err)
	}
}

func TestLaunchFails(t *testing.T) {
	b := newBed(t)
	c, err := submit.OpenClient(t.Context(), &submit.ClientOptions{Home: b.home, Executor: []string{"/nowhere/flowship", "step"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Submit(t.Context(), submit.Invocation{Command: []string{"true"}}); err == nil {
		t.Error("launched by a program that is not there")
	}
	if run := b.lastRun(t); run.State.Type != orchestrator.TypeCrashed {
		t.Errorf("ended %+v", run.State)
	}
}

func TestUnknownJobVariable(t *testing.T) {
	b := newBed(t)
	_, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{Command: []string{"true"}, JobVariables: map[string]any{"wroking_dir": "/"}})
	if err == nil || !strings.Contains(err.Error(), `unknown job variable "wroking_dir": did you mean "working_dir"?`) {
		t.Errorf("error %v", err)
	}
	if names := b.stored(t); len(names) > 0 {
		t.Errorf("stored %v", names)
	}
}

// Who wants another type of infrastructure than the pool's is told both.
func TestTypeOfWorkPool(t *testing.T) {
	b := newBed(t)
	for kind, want := range map[string]string{
		"process": "", "universal": "", "subprocess": "",
		"docker": `submit: work pool "local": launch: settings of type "docker" do not fit a work pool of type "process"`,
	} {
		got := ""
		if _, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{Command: []string{"true"}, Type: kind}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}

// Bundles are stored where the work pool says.
func TestPoolStorage(t *testing.T) {
	b := newBed(t)
	dir := filepath.Join(t.TempDir(), "bund les")
	if err := b.client.ConfigureStorage(t.Context(), "local", submit.StorageSettings{Type: submit.StorageLocal, Place: dir}); err != nil {
		t.Fatal(err)
	}
	run := b.run(t, submit.Invocation{Dir: tree(t, map[string]string{"a.txt": "a"}), Include: []string{"a.txt"}, Command: sh("cat a.txt")})
	if run.State.Type != orchestrator.TypeCompleted {
		t.Fatalf("ended %+v", run.State)
	}
	for _, name := range []string{run.Bundle.Key, *run.Bundle.FilesKey, execute.RecordKey(run.ID)} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	got, err := b.client.Storage(t.Context(), "local")
	options, _ := json.Marshal(map[string]string{"path": dir})
	if diff := cmp.Diff(&submit.PoolStorage{Type: submit.StorageLocal, Upload: options, Execution: options}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// bareTemplate has no variable "command".
const bareTemplate = `{"job_configuration": {"env": "{{ env }}"}, "variables": {"type": "object", "properties": {"env": {"type": "object"}}}}`

// A pool whose template knows no command runs the executor all the same.
func TestTemplateWithoutCommand(t *testing.T) {
	b := newBed(t)
	_, err := b.client.CreateWorkPool(t.Context(), orchestrator.NewWorkPool{
		Name: "bare", Type: "process", BaseJobTemplate: []byte(bareTemplate),
	})
	if err != nil {
		t.Fatal(err)
	}
	if run := b.run(t, submit.Invocation{WorkPool: "bare", Command: []string{"true"}}); run.State.Type != orchestrator.TypeCompleted {
		t.Errorf("ended %+v", run.State)
	}
}

// A launcher's tokens stand in place of the executor's program, and its run can be one of a pool
// whose template knows no command: then it is refused.
func TestExecutionLauncher(t *testing.T) {
	b := newBed(t)
	marker := filepath.Join(t.TempDir(), "argv")
	script := filepath.Join(t.TempDir(), "launcher")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$@\" > "+marker+"\nshift 2\nexec "+os.Args[0]+" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := b.run(t, submit.Invocation{Command: []string{"true"}, Launcher: &launch.Launcher{Execution: []string{script, "--quick"}}})
	if run.State.Type != orchestrator.TypeCompleted {
		t.Errorf("ended %+v", run.State)
	}
	if got, err := os.ReadFile(marker); err != nil || !strings.HasPrefix(string(got), "--quick step execute --url file://") {
		t.Errorf("the launcher got %q (%v)", got, err)
	}
	if _, err := b.client.CreateWorkPool(t.Context(), orchestrator.NewWorkPool{
		Name: "bare", Type: "process", BaseJobTemplate: []byte(bareTemplate),
	}); err != nil {
		t.Fatal(err)
	}
	_, err := b.client.Run(t.Context(), submit.Invocation{WorkPool: "bare", Command: []string{"true"}, Launcher: &launch.Launcher{Execution: []string{script}}})
	if err == nil || !strings.Contains(err.Error(), `has no variable "command"`) {
		t.Errorf("error %v", err)
	}
}

// The record of a run is kept where the caller says.
func TestResultStorage(t *testing.T) {
	b := newBed(t)
	dir := filepath.Join(t.TempDir(), "re sults")
	url, err := storage.FolderURL(dir)
	if err != nil {
		t.Fatal(err)
	}
	run, err := b.client.Submit(t.Context(), submit.Invocation{Command: sh("echo 42 > $FLOWSHIP_RESULT"), Results: url})
	if err != nil {
		t.Fatal(err)
	}
	b.ended(t, run.ID)
	if result, err := b.client.Result(t.Context(), run.ID); err != nil || strings.TrimSpace(string(result)) != "42" {
		t.Errorf("result %s (%v)", result, err)
	}
	if _, err := os.Stat(filepath.Join(dir, execute.RecordKey(run.ID))); err != nil {
		t.Error(err)
	}
	if _, err := b.client.Run(t.Context(), submit.Invocation{Command: []string{"true"}, Results: "nowhere://x"}); err == nil {
		t.Error("results went to a store that nobody can open")
	}
}
