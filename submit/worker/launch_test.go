package worker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/infratest"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
	"github.com/flowship/flowship/submit/worker"
)

// become has somebody set the states of the run, one after the other.
func become(t *testing.T, runs *local.Orchestrator, id string, opts *orchestrator.SetStateOptions, states ...orchestrator.State) {
	t.Helper()
	for _, to := range states {
		if _, err := runs.SetState(t.Context(), id, to, opts); err != nil {
			t.Error(err)
		}
	}
}

// A run that is to be run again before its launcher has seen that it has ended belongs to who runs
// it again.
func TestRunAgainBeforeItsEndWasSeen(t *testing.T) {
	runs, run, first := newRun(t)
	second, job := orchestrator.NewLease("launcher", time.Hour), &gate{open: make(chan struct{})}
	end, err := newLauncher(runs, job, 0).Launch(t.Context(), worker.Launch{Run: run, Lease: first, Accepted: func() {
		become(t, runs, run.ID, nil, orchestrator.NewState(orchestrator.TypeRunning, ""), orchestrator.NewState(orchestrator.TypeFailed, ""))
		become(t, runs, run.ID, &orchestrator.SetStateOptions{Force: true, Lease: &second}, orchestrator.NewState(orchestrator.TypePending, "again"))
		close(job.open)
	}})
	if err != nil || end.State.Type != orchestrator.TypeFailed || end.ExitCode != 1 {
		t.Errorf("the first end: %+v, %v", end, err)
	}
	states, err := runs.States(t.Context(), run.ID)
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
	if err := runs.Renew(t.Context(), second); err != nil {
		t.Errorf("who runs it again: %v", err)
	}
}

// A run that is suspended, resumed and claimed again before its launcher has seen that its job has
// ended belongs to who has claimed it.
func TestClaimedAgainBeforeItsEndWasSeen(t *testing.T) {
	runs, run, first := newRun(t)
	job := &gate{open: make(chan struct{})}
	end, err := newLauncher(runs, job, 0).Launch(t.Context(), worker.Launch{Run: run, Lease: first, Accepted: func() {
		states := []orchestrator.State{orchestrator.NewState(orchestrator.TypeRunning, ""), orchestrator.NewNamedState(orchestrator.TypePaused, "Suspended", ""),
			orchestrator.NewNamedState(orchestrator.TypeScheduled, "Resuming", ""), orchestrator.NewState(orchestrator.TypePending, "")}
		become(t, runs, run.ID, &orchestrator.SetStateOptions{Force: true}, states...)
		close(job.open)
	}})
	if err != nil || end.State.Name != "Resuming" {
		t.Errorf("the first end: %+v, %v", end, err)
	}
	now, err := runs.FlowRun(t.Context(), run.ID)
	if err != nil || now.State.Type != orchestrator.TypePending {
		t.Errorf("the run is %+v, %v", now.State, err)
	}
}

// polled counts how often it is asked for work.
type polled struct {
	*local.Orchestrator
	times atomic.Int64
}

func (p *polled) ScheduledFlowRuns(ctx context.Context, pool string, before time.Time, limit int) ([]*orchestrator.FlowRun, error) {
	runs, err := p.Orchestrator.ScheduledFlowRuns(ctx, pool, before, limit)
	p.times.Add(1)
	return runs, err
}

// inTurn is a platform that counts its jobs; the first one ends when the test says so.
type inTurn struct {
	gate
	started atomic.Int64
}

func (p *inTurn) Start(context.Context, *launch.Job) (string, error) {
	return fmt.Sprint(p.started.Add(1)), nil
}

// A worker does not claim a run whose job it still has under way.
func TestRunIsOfferedBeforeItsJobHasEnded(t *testing.T) {
	runs, job := &polled{Orchestrator: newBackend(t)}, &inTurn{gate: gate{open: make(chan struct{})}}
	run, err := runs.CreateFlowRun(t.Context(), orchestrator.NewFlowRun{
		Flow: "f", WorkPool: "pool", State: orchestrator.NewState(orchestrator.TypeScheduled, ""),
		Bundle: orchestrator.Bundle{URL: "file://" + filepath.ToSlash(t.TempDir())},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	var working sync.WaitGroup
	working.Go(func() {
		if err := worker.New(newLauncher(runs, job, 0), runs, worker.Options{WorkPool: "pool", Interval: time.Millisecond}).Run(ctx); err != nil {
			t.Error(err)
		}
	})
	until := func(what string, holds func() bool) {
		t.Helper()
		infratest.Until(t.Context(), t, 20*time.Second, what, holds)
	}
	until("its job starts", func() bool { return job.started.Load() == 1 })
	become(t, runs.Orchestrator, run.ID, &orchestrator.SetStateOptions{Force: true}, orchestrator.NewState(orchestrator.TypeScheduled, "later"))
	before := runs.times.Load()
	until("it is offered again", func() bool { return runs.times.Load() > before+3 })
	if n := job.started.Load(); n != 1 {
		t.Errorf("%d jobs of a run at once", n)
	}
	close(job.open)
	until("it is run again", func() bool { return job.started.Load() == 2 })
	stop(nil)
	working.Wait()
}

// A run that took too long says so by its launcher's exit code, also where its executor ended well.
func TestExitCodeOfTimedOut(t *testing.T) {
	runs, run, lease := newRun(t)
	job := &gate{open: make(chan struct{})}
	end, err := newLauncher(runs, job, 0).Launch(t.Context(), worker.Launch{Run: run, Lease: lease, Accepted: func() {
		late := orchestrator.NewNamedState(orchestrator.TypeFailed, orchestrator.NameTimedOut, "too long")
		become(t, runs, run.ID, nil, orchestrator.NewState(orchestrator.TypeRunning, ""), late)
		close(job.open)
	}})
	if err != nil || end.State.Name != orchestrator.NameTimedOut || end.ExitCode != execute.ExitTimedOut {
		t.Errorf("the end: %+v, %v", end, err)
	}
}

// That the infrastructure took no job is how a run ended, and known.
func TestWorkerSaysWhyARunCrashed(t *testing.T) {
	runs := newBackend(t)
	_, err := runs.CreateFlowRun(t.Context(), orchestrator.NewFlowRun{
		Flow: "f", Name: "unlucky", WorkPool: "pool", State: orchestrator.NewState(orchestrator.TypeScheduled, ""),
		Bundle: orchestrator.Bundle{URL: "file://" + filepath.ToSlash(t.TempDir())},
	})
	if err != nil {
		t.Fatal(err)
	}
	launcher := newLauncher(runs, &gate{closed: errors.New("no room")}, 0)
	var log bytes.Buffer
	opts := worker.Options{WorkPool: "pool", RunOnce: true, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if err := worker.New(launcher, runs, opts).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	const want = `name=unlucky message="the executor could not be started: launch: start process: no room"`
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg="flow run crashed"`) || !strings.Contains(got, want) {
		t.Errorf("it logged %s, want that it crashed with %s", got, want)
	}
}
