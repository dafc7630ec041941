package worker_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/flowship/flowship/launch"
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

// newBackend is an embedded backend with a work pool.
func newBackend(t *testing.T) *local.Orchestrator {
	t.Helper()
	runs, err := local.Open(t.Context(), filepath.Join(t.TempDir(), "flowship.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { runs.Close() })
	if _, err := runs.CreateWorkPool(t.Context(), orchestrator.NewWorkPool{Name: "pool", Type: "process", BaseJobTemplate: []byte(template)}); err != nil {
		t.Fatal(err)
	}
	return runs
}

// newRun returns a backend with a run that is PENDING, and a lease on it.
func newRun(t *testing.T) (*local.Orchestrator, *orchestrator.FlowRun, orchestrator.Lease) {
	return newRunOf(t, orchestrator.Policy{})
}

func newRunOf(t *testing.T, policy orchestrator.Policy) (*local.Orchestrator, *orchestrator.FlowRun, orchestrator.Lease) {
	t.Helper()
	runs, lease := newBackend(t), orchestrator.NewLease("launcher", time.Hour)
	run, err := runs.CreateFlowRun(t.Context(), orchestrator.NewFlowRun{
		Flow: "f", WorkPool: "pool", State: orchestrator.NewState(orchestrator.TypePending, ""), Lease: &lease, Policy: policy,
		Bundle: orchestrator.Bundle{URL: "file://" + filepath.ToSlash(t.TempDir())},
	})
	if err != nil {
		t.Fatal(err)
	}
	return runs, run, lease
}

func newLauncher(runs worker.Backend, job launch.Driver, patience time.Duration) *worker.Launcher {
	return &worker.Launcher{
		Runs:           runs,
		Watcher:        orchestrator.NewWatcher(runs.(orchestrator.Watched), 0),
		Infrastructure: func(string) (*launch.Infrastructure, error) { return launch.New("process", job), nil },
		Executor:       []string{"flowship", "step"},
		Env:            func(string, orchestrator.Lease) []string { return nil },
		Patience:       func(*orchestrator.FlowRun) time.Duration { return patience },
	}
}
