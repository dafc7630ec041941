package worker_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
	"github.com/flowship/flowship/submit/worker"
)

const template = `{"job_configuration": {"command": "{{ command }}"}, "variables": {"properties": {"command": {"type": "string"}}}}`

// gate is an infrastructure whose jobs end when the test says so, or which takes none.
type gate struct {
	open   chan struct{}
	closed error
}

func (g *gate) Start(context.Context, *launch.Job) (string, error) { return "job", g.closed }
func (*gate) Stop(context.Context, string, time.Duration) error    { return nil }
func (*gate) Template() *launch.Template                           { return nil }
func (*gate) Find(context.Context, string, *launch.FindOptions) (bool, error) {
	return false, launch.ErrNotFound
}
func (g *gate) Wait(ctx context.Context, _ string) (*launch.Exit, error) {
	select {
	case <-g.open:
		return &launch.Exit{}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// bed is an embedded backend with a work pool, and a launcher whose jobs the gate lets end.
type bed struct {
	*local.Orchestrator
	*gate
	launcher *worker.Launcher
	run      *orchestrator.FlowRun
	lease    orchestrator.Lease // on the run
}

// newBed has one run, in this state.
func newBed(t *testing.T, state orchestrator.StateType) *bed {
	t.Helper()
	runs, err := local.Open(t.Context(), filepath.Join(t.TempDir(), "flowship.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runs.Close() })
	if _, err := runs.CreateWorkPool(t.Context(), orchestrator.NewWorkPool{Name: "pool", Type: "process", BaseJobTemplate: []byte(template)}); err != nil {
		t.Fatal(err)
	}
	b := &bed{Orchestrator: runs, gate: &gate{open: make(chan struct{})}, lease: orchestrator.NewLease("launcher", time.Hour)}
	n := orchestrator.NewFlowRun{
		Flow: "f", Name: "unlucky", WorkPool: "pool", State: orchestrator.NewState(state, ""),
		Bundle: orchestrator.Bundle{URL: "file://" + filepath.ToSlash(t.TempDir())},
	}
	if state == orchestrator.TypePending {
		n.Lease = &b.lease
	}
	if b.run, err = runs.CreateFlowRun(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	b.launcher = &worker.Launcher{
		Runs:           runs,
		Watcher:        orchestrator.NewWatcher(runs, 0),
		Infrastructure: func(string) (*launch.Infrastructure, error) { return launch.New("process", b.gate), nil },
		Executor:       []string{"flowship", "step"},
		Env:            func(string, orchestrator.Lease) []string { return nil },
	}
	return b
}

// launch has the run launched; its job is under way while accepted is called, and ends after it.
func (b *bed) launch(t *testing.T, accepted func()) (*worker.End, error) {
	return b.launcher.Launch(t.Context(), worker.Launch{Run: b.run, Lease: b.lease, Accepted: func() {
		accepted()
		close(b.open)
	}})
}

// becomes has somebody set the states of the run, one after the other.
func (b *bed) becomes(t *testing.T, opts *orchestrator.SetStateOptions, states ...orchestrator.State) {
	t.Helper()
	for _, to := range states {
		if _, err := b.SetState(t.Context(), b.run.ID, to, opts); err != nil {
			t.Error(err)
		}
	}
}

// A run that is to be run again before its launcher has seen that it has ended belongs to who runs
// it again.
func TestRunAgainBeforeItsEndWasSeen(t *testing.T) {
	b := newBed(t, orchestrator.TypePending)
	second := orchestrator.NewLease("launcher", time.Hour)
	end, err := b.launch(t, func() {
		b.becomes(t, nil, orchestrator.NewState(orchestrator.TypeRunning, ""), orchestrator.NewState(orchestrator.TypeFailed, ""))
		again := &orchestrator.SetStateOptions{Force: true, Lease: &second}
		b.becomes(t, again, orchestrator.NewState(orchestrator.TypePending, "again"))
	})
	if err != nil || end.State.Type != orchestrator.TypeFailed || end.ExitCode != 1 {
		t.Errorf("the first end: %+v, %v", end, err)
	}
	states, err := b.States(t.Context(), b.run.ID)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range states {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"Pending", "Running", "Failed", "Pending"}, names); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if err := b.Renew(t.Context(), second); err != nil {
		t.Errorf("who runs it again: %v", err)
	}
}

// A run that took too long says so by its launcher's exit code, also where its executor ended well.
func TestExitCodeOfTimedOut(t *testing.T) {
	b := newBed(t, orchestrator.TypePending)
	end, err := b.launch(t, func() {
		late := orchestrator.NewNamedState(orchestrator.TypeFailed, orchestrator.NameTimedOut, "too long")
		b.becomes(t, nil, orchestrator.NewState(orchestrator.TypeRunning, ""), late)
	})
	if err != nil || end.State.Name != orchestrator.NameTimedOut || end.ExitCode != execute.ExitTimedOut {
		t.Errorf("the end: %+v, %v", end, err)
	}
}

// That the infrastructure took no job is how a run ended, and known.
func TestWorkerSaysWhyARunCrashed(t *testing.T) {
	b := newBed(t, orchestrator.TypeScheduled)
	b.closed = errors.New("no room")
	var log bytes.Buffer
	opts := worker.Options{WorkPool: "pool", RunOnce: true, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if err := worker.New(b.launcher, b.Orchestrator, opts).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = `name=unlucky message="the executor could not be started: launch: start process: no room"`
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg="flow run crashed"`) || !strings.Contains(got, want) {
		t.Errorf("it logged %s, want that it crashed with %s", got, want)
	}
}
