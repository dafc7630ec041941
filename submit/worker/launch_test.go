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

// A run that is to be run again before its launcher has seen that it has ended belongs to who runs
// it again.
func TestRunAgainBeforeItsEndWasSeen(t *testing.T) {
	ctx := t.Context()
	runs, err := local.Open(ctx, filepath.Join(t.TempDir(), "flowship.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer runs.Close()
	if _, err := runs.CreateWorkPool(ctx, orchestrator.NewWorkPool{Name: "pool", Type: "process", BaseJobTemplate: []byte(template)}); err != nil {
		t.Fatal(err)
	}
	first, second := orchestrator.NewLease("launcher", time.Hour), orchestrator.NewLease("launcher", time.Hour)
	run, err := runs.CreateFlowRun(ctx, orchestrator.NewFlowRun{
		Flow: "f", WorkPool: "pool", State: orchestrator.NewState(orchestrator.TypePending, ""), Lease: &first,
		Bundle: orchestrator.Bundle{URL: "file://" + filepath.ToSlash(t.TempDir())},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{open: make(chan struct{})}
	launcher := &worker.Launcher{
		Runs:           runs,
		Watcher:        orchestrator.NewWatcher(runs, 0),
		Infrastructure: func(string) (*launch.Infrastructure, error) { return launch.New("process", g), nil },
		Executor:       []string{"flowship", "step"},
		Env:            func(string, orchestrator.Lease) []string { return nil },
	}
	end, err := launcher.Launch(ctx, worker.Launch{Run: run, Lease: first, Accepted: func() {
		for _, to := range []orchestrator.StateType{orchestrator.TypeRunning, orchestrator.TypeFailed} {
			if _, err := runs.SetState(ctx, run.ID, orchestrator.NewState(to, ""), nil); err != nil {
				t.Error(err)
			}
		}
		again := &orchestrator.SetStateOptions{Force: true, Lease: &second}
		if _, err := runs.SetState(ctx, run.ID, orchestrator.NewState(orchestrator.TypePending, "again"), again); err != nil {
			t.Error(err)
		}
		close(g.open)
	}})
	if err != nil || end.State.Type != orchestrator.TypeFailed || end.ExitCode != 1 {
		t.Errorf("the first end: %+v, %v", end, err)
	}
	states, err := runs.States(ctx, run.ID)
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
	if err := runs.Renew(ctx, second); err != nil {
		t.Errorf("who runs it again: %v", err)
	}
}

// A run that took too long says so by its launcher's exit code, also where its executor ended well.
func TestExitCodeOfTimedOut(t *testing.T) {
	ctx := t.Context()
	runs, err := local.Open(ctx, filepath.Join(t.TempDir(), "flowship.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer runs.Close()
	if _, err := runs.CreateWorkPool(ctx, orchestrator.NewWorkPool{Name: "pool", Type: "process", BaseJobTemplate: []byte(template)}); err != nil {
		t.Fatal(err)
	}
	lease := orchestrator.NewLease("launcher", time.Hour)
	run, err := runs.CreateFlowRun(ctx, orchestrator.NewFlowRun{Flow: "f", WorkPool: "pool", State: orchestrator.NewState(orchestrator.TypePending, ""), Lease: &lease})
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{open: make(chan struct{})}
	launcher := &worker.Launcher{
		Runs:           runs,
		Watcher:        orchestrator.NewWatcher(runs, 0),
		Infrastructure: func(string) (*launch.Infrastructure, error) { return launch.New("process", g), nil },
		Executor:       []string{"flowship", "step"},
		Env:            func(string, orchestrator.Lease) []string { return nil },
	}
	end, err := launcher.Launch(ctx, worker.Launch{Run: run, Lease: lease, Accepted: func() {
		late := orchestrator.NewNamedState(orchestrator.TypeFailed, orchestrator.NameTimedOut, "too long")
		for _, to := range []orchestrator.State{orchestrator.NewState(orchestrator.TypeRunning, ""), late} {
			if _, err := runs.SetState(ctx, run.ID, to, nil); err != nil {
				t.Error(err)
			}
		}
		close(g.open)
	}})
	if err != nil || end.State.Name != orchestrator.NameTimedOut || end.ExitCode != execute.ExitTimedOut {
		t.Errorf("the end: %+v, %v", end, err)
	}
}

// That the infrastructure took no job is how a run ended, and known.
func TestWorkerSaysWhyARunCrashed(t *testing.T) {
	ctx := t.Context()
	runs, err := local.Open(ctx, filepath.Join(t.TempDir(), "flowship.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer runs.Close()
	if _, err := runs.CreateWorkPool(ctx, orchestrator.NewWorkPool{Name: "pool", Type: "process", BaseJobTemplate: []byte(template)}); err != nil {
		t.Fatal(err)
	}
	_, err = runs.CreateFlowRun(ctx, orchestrator.NewFlowRun{
		Flow: "f", Name: "unlucky", WorkPool: "pool", State: orchestrator.NewState(orchestrator.TypeScheduled, ""),
		Bundle: orchestrator.Bundle{URL: "file://" + filepath.ToSlash(t.TempDir())},
	})
	if err != nil {
		t.Fatal(err)
	}
	launcher := &worker.Launcher{
		Runs:    runs,
		Watcher: orchestrator.NewWatcher(runs, 0),
		Infrastructure: func(string) (*launch.Infrastructure, error) {
			return launch.New("process", &gate{closed: errors.New("no room")}), nil
		},
		Executor: []string{"flowship", "step"},
		Env:      func(string, orchestrator.Lease) []string { return nil },
	}
	var log bytes.Buffer
	opts := worker.Options{WorkPool: "pool", RunOnce: true, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if err := worker.New(launcher, runs, opts).Run(ctx); err != nil {
		t.Fatal(err)
	}
	const want = `name=unlucky message="the executor could not be started: launch: start process: no room"`
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg="flow run crashed"`) || !strings.Contains(got, want) {
		t.Errorf("it logged %s, want that it crashed with %s", got, want)
	}
}
