package worker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
	"github.com/flowship/flowship/submit/worker"
)

// listening is an infrastructure with one job, whose executor ends it when the run is CANCELLING; one
// that is deaf ends only when it is stopped.
type listening struct {
	gate
	deaf    bool
	waits   int
	stopped bool
	ends    func()
}

func (l *listening) Wait(ctx context.Context, _ string) (*launch.Exit, error) {
	if l.waits++; l.waits == 1 || l.deaf && !l.stopped {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if !l.stopped {
		l.ends()
	}
	return &launch.Exit{}, nil
}

func (l *listening) Stop(context.Context, string, time.Duration) error {
	l.stopped = true
	return nil
}

// Whose executor hears that its run is CANCELLING is not signalled before it had the time to end.
func TestCancelledByItsExecutor(t *testing.T) {
	killed := make(chan struct{})
	close(killed)
	for _, c := range []struct {
		name        string
		patience    time.Duration
		deaf, begun bool
		kill        chan struct{}
		stopped     bool
		message     string
	}{
		{"it ends", time.Minute, false, true, nil, false, "by its executor"},
		{"it does not listen", time.Millisecond, true, true, nil, true, "enough"},
		{"it is to be killed", time.Hour, true, true, killed, true, "enough"},
		{"it has not begun", time.Hour, true, false, nil, true, "enough"},
		{"nobody tells it", 0, true, true, nil, true, "enough"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			runs, run, lease := newRun(t)
			become := func(typ orchestrator.StateType, message string) {
				if _, err := runs.SetState(ctx, run.ID, orchestrator.NewState(typ, message), nil); err != nil {
					t.Error(err)
				}
			}
			job := &listening{deaf: c.deaf, ends: func() { become(orchestrator.TypeCancelled, "by its executor") }}
			launcher := newLauncher(runs, job, c.patience)
			end, err := launcher.Launch(ctx, worker.Launch{Run: run, Lease: lease, Kill: c.kill, Accepted: func() {
				if c.begun {
					become(orchestrator.TypeRunning, "")
				}
				become(orchestrator.TypeCancelling, "enough")
			}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{orchestrator.TypeCancelled, c.message, 130, c.stopped}, []any{end.State.Type, end.State.Message, end.ExitCode, job.stopped}); diff != "" {
				t.Errorf("state, message, exit code, stopped (-want +got):\n%s", diff)
			}
		})
	}
}

// Whose job calls the signal a crash that ends it has been cancelled nevertheless, if somebody asked
// for that. A worker that must not wait makes a run crash.
func TestCrashedBySignal(t *testing.T) {
	for _, c := range []struct {
		cause   error
		want    orchestrator.StateType
		message string
	}{
		{nil, orchestrator.TypeCancelled, "enough"},
		{worker.ErrStopped, orchestrator.TypeCrashed, "interrupted"},
	} {
		runs, run, lease := newRun(t)
		ctx, stop := context.WithCancelCause(t.Context())
		become := func(typ orchestrator.StateType, message string) {
			state := orchestrator.NewState(typ, message)
			if _, err := runs.SetState(t.Context(), run.ID, state, &orchestrator.SetStateOptions{Force: true}); err != nil {
				t.Error(err)
			}
		}
		job := &signalled{ends: func() { become(orchestrator.TypeCrashed, "interrupted") }}
		end, err := newLauncher(runs, job, 0).Launch(ctx, worker.Launch{Run: run, Lease: lease, Accepted: func() {
			become(orchestrator.TypeRunning, "")
			if c.cause == nil {
				become(orchestrator.TypeCancelling, "enough")
			} else {
				stop(c.cause)
			}
		}})
		stop(nil)
		if err != nil {
			t.Fatal(err)
		}
		now, err := runs.FlowRun(t.Context(), run.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]any{c.want, c.message, c.want}, []any{end.State.Type, end.State.Message, now.State.Type}); diff != "" {
			t.Errorf("%v: state, message, in the backend (-want +got):\n%s", c.cause, diff)
		}
	}
}

// signalled is a job that says how it ends when it is stopped.
type signalled struct {
	gate
	ends    func()
	stopped bool
}

func (s *signalled) Wait(ctx context.Context, _ string) (*launch.Exit, error) {
	if !s.stopped {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return &launch.Exit{Code: 1}, nil
}

func (s *signalled) Stop(context.Context, string, time.Duration) error {
	if !s.stopped {
		s.ends()
	}
	s.stopped = true
	return nil
}

// silent is a backend that is away when a run is to become CANCELLING.
type silent struct{ *local.Orchestrator }

func (s silent) SetState(ctx context.Context, id string, to orchestrator.State, opts *orchestrator.SetStateOptions) (*orchestrator.Outcome, error) {
	if to.Type == orchestrator.TypeCancelling {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return s.Orchestrator.SetState(ctx, id, to, opts)
}

// A run is stopped soon, also when nobody can be told of it.
func TestCancelledInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs, run, lease := newRun(t)
		job := &listening{deaf: true}
		launcher := newLauncher(silent{runs}, job, time.Hour)
		ctx, interrupt := context.WithCancel(t.Context())
		began := time.Now()
		end, err := launcher.Launch(ctx, worker.Launch{Run: run, Lease: lease, Accepted: func() {
			if _, err := runs.SetState(t.Context(), run.ID, orchestrator.NewState(orchestrator.TypeRunning, ""), nil); err != nil {
				t.Error(err)
			}
			interrupt()
		}})
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if err != nil || !job.stopped || end.State.Type != orchestrator.TypeCancelled {
			t.Errorf("stopped %v, %+v, %v", job.stopped, end, err)
		}
	})
}

// failing is an infrastructure elsewhere whose jobs leave a record that they failed.
type failing struct {
	gate
	started int
	fail    func()
}

func (f *failing) Start(context.Context, *launch.Job) (string, error) {
	f.started++
	return "job", nil
}

func (f *failing) Wait(context.Context, string) (*launch.Exit, error) {
	f.fail()
	return &launch.Exit{Code: 1}, nil
}

// A run that is cancelled while it waits for its retry is not started once more for that.
func TestCancelledBeforeItsRetry(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Hour} {
		t.Run(delay.String(), func(t *testing.T) {
			ctx := t.Context()
			runs, run, lease := newRunOf(t, orchestrator.Policy{Retries: 1, RetryDelay: delay})
			job := &failing{}
			launcher := newLauncher(runs, job, 0)
			launcher.Elsewhere = func(*orchestrator.FlowRun, string) (*worker.Elsewhere, error) { return &worker.Elsewhere{}, nil }
			job.fail = func() {
				failed := orchestrator.NewState(orchestrator.TypeFailed, "")
				if err := execute.NotRun(run.ID, failed, 1).Settle(ctx, run.Bundle.URL, nil, nil); err != nil {
					t.Error(err)
				}
			}
			launcher.Runs = cancelling{runs}
			end, err := launcher.Launch(ctx, worker.Launch{Run: run, Lease: lease})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{orchestrator.TypeCancelled, 130, 1}, []any{end.State.Type, end.ExitCode, job.started}); diff != "" {
				t.Errorf("state, exit code, starts (-want +got):\n%s", diff)
			}
		})
	}
}

// cancelling is a backend whose runs are cancelled as soon as they await a retry.
type cancelling struct{ *local.Orchestrator }

func (c cancelling) SetState(ctx context.Context, id string, to orchestrator.State, opts *orchestrator.SetStateOptions) (*orchestrator.Outcome, error) {
	out, err := c.Orchestrator.SetState(ctx, id, to, opts)
	if err == nil && out.State.AwaitsRetry() {
		_, err = c.Orchestrator.SetState(ctx, id, orchestrator.NewState(orchestrator.TypeCancelling, "enough"), nil)
	}
	return out, err
}

// slow is a platform whose Stop does not wait: its one job ends only when it is to end at once.
type slow struct {
	gate
	asked func()
}

func (s *slow) Stop(_ context.Context, _ string, grace time.Duration) error {
	if grace < time.Second {
		close(s.open)
	} else {
		s.asked()
	}
	return nil
}

// A run that is being cancelled is killed when that is wanted, also while its end is awaited.
func TestKilledWhileItEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	runs, run, lease := newRun(t)
	kill := make(chan struct{})
	launcher := newLauncher(runs, &slow{gate: gate{open: make(chan struct{})}, asked: func() { close(kill) }}, 0)
	launcher.Grace = time.Minute
	cancelled, interrupt := context.WithCancel(ctx)
	done := make(chan *worker.End, 1)
	go func() {
		end, err := launcher.Launch(cancelled, worker.Launch{Run: run, Lease: lease, Kill: kill, Accepted: interrupt})
		if err != nil {
			t.Error(err)
		}
		done <- end
	}()
	select {
	case end := <-done:
		if end.State.Type != orchestrator.TypeCancelled {
			t.Errorf("it ended %+v", end)
		}
	case <-ctx.Done():
		t.Error("it was not killed")
	}
}
