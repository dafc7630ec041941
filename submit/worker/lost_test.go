package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
	"github.com/flowship/flowship/submit/worker"
)

// takenAway is a backend where somebody else has got the lease, and that then does not answer.
type takenAway struct {
	*local.Orchestrator
	lost atomic.Bool
	err  error
}

func (b *takenAway) Renew(context.Context, orchestrator.Lease) error {
	b.lost.Store(true)
	return orchestrator.ErrLeaseLost
}

func (b *takenAway) FlowRun(ctx context.Context, id string) (*orchestrator.FlowRun, error) {
	if b.lost.Load() {
		return nil, b.err
	}
	return b.Orchestrator.FlowRun(ctx, id)
}

// stoppable is a job that ends when it is stopped.
type stoppable struct {
	gate
	stopped atomic.Bool
}

func (s *stoppable) Stop(context.Context, string, time.Duration) error {
	s.stopped.Store(true)
	close(s.open)
	return nil
}

// A job that goes on by itself, and that somebody else has taken up, is not stopped because nobody
// could be asked. That of a run which is not there any more is.
func TestTakenUpInAnOutage(t *testing.T) {
	for _, c := range []struct {
		err     error
		stopped bool
	}{
		{errors.New("no answer"), false},
		{orchestrator.ErrNotFound, true},
	} {
		runs, run, lease := newRun(t)
		lease.Length = 60 * time.Millisecond
		job := &stoppable{gate: gate{open: make(chan struct{})}}
		launcher := newLauncher(&takenAway{Orchestrator: runs, err: c.err}, job, 0)
		launcher.Elsewhere = func(*orchestrator.FlowRun, string) (*worker.Elsewhere, error) {
			return &worker.Elsewhere{Command: []string{"true"}, Reports: true}, nil
		}
		_, err := launcher.Launch(t.Context(), worker.Launch{Run: run, Lease: lease})
		if got := job.stopped.Load(); got != c.stopped || err == nil {
			t.Errorf("after %v: stopped %v, %v", c.err, got, err)
		}
	}
}

// sweeping is a platform that has what killed programs left of runs.
type sweeping struct {
	gate
	ids []string
}

func (s *sweeping) Sweep(_ context.Context, spare launch.Spare) (swept []string, err error) {
	for _, id := range s.ids {
		if !spare(func(string) string { return id }) {
			swept = append(swept, id)
		}
	}
	return swept, nil
}

// The jobs of runs that have not ended are somebody's, and those of runs that are not known.
func TestSweepSpares(t *testing.T) {
	job := &sweeping{ids: []string{"unknown", ""}}
	runs, paused, _ := newRun(t)
	launcher := newLauncher(runs, job, 0)
	job.ids = append(job.ids, paused.ID)
	for _, to := range []orchestrator.StateType{orchestrator.TypeRunning, orchestrator.TypePaused, orchestrator.TypeCancelled} {
		if _, err := runs.SetState(t.Context(), paused.ID, orchestrator.NewState(to, ""), nil); err != nil {
			t.Fatal(err)
		}
		var want []string
		if to.Final() {
			want = []string{paused.ID}
		}
		swept, err := launcher.Sweep(t.Context(), "docker")
		if diff := cmp.Diff(want, swept); diff != "" || err != nil {
			t.Errorf("%s: %v, swept (-want +got):\n%s", to, err, diff)
		}
	}
}

// vanishing is a platform whose job is gone before its end was known.
type vanishing struct{ gate }

func (*vanishing) Wait(context.Context, string) (*launch.Exit, error) {
	return nil, errors.New("it was deleted before its end was known")
}

// Of a job whose end nobody saw, what its executor left says how the run ended.
func TestEndUnseen(t *testing.T) {
	for _, recorded := range []bool{false, true} {
		runs, run, lease := newRun(t)
		if recorded {
			record, err := json.Marshal(execute.Record{ID: run.ID, State: orchestrator.NewState(orchestrator.TypeCompleted, ""), Result: json.RawMessage("7")})
			if err != nil {
				t.Fatal(err)
			}
			at := filepath.Join(filepath.FromSlash(strings.TrimPrefix(run.Bundle.URL, "file://")), filepath.FromSlash(execute.RecordKey(run.ID)))
			if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, record, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		end, err := newLauncher(runs, &vanishing{}, 0).Launch(t.Context(), worker.Launch{Run: run, Lease: lease})
		type seen struct {
			Type     orchestrator.StateType
			Message  string
			ExitCode int
			Result   string
			Warnings int
		}
		want := seen{orchestrator.TypeCrashed, "the job was not run to its end: launch: wait for process \"job\": it was deleted before its end was known", execute.ExitUnavailable, "", 0}
		if recorded {
			want = seen{orchestrator.TypeCompleted, "", 0, "7", 1}
		}
		if diff := cmp.Diff(want, seen{end.State.Type, end.State.Message, end.ExitCode, string(end.Result), len(end.Warnings)}); diff != "" || (err == nil) != recorded {
			t.Errorf("recorded %v: %v, end (-want +got):\n%s", recorded, err, diff)
		}
		now, err := runs.FlowRun(t.Context(), run.ID)
		if err != nil || now.State.Type != want.Type {
			t.Errorf("recorded %v: the run is %v, %v", recorded, now.State.Type, err)
		}
	}
}
