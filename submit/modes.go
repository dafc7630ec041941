package submit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/execute/executor"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/worker"
)

var errNoExecutor = errors.New("no executor")

// LaunchError: the flow run was recorded, and has ended because it could not be launched, or not be
// run to its end.
type LaunchError struct {
	ID  string // of the flow run
	Err error  // why
}

func (e *LaunchError) Error() string { return e.Err.Error() }
func (e *LaunchError) Unwrap() error { return e.Err }

// newSubmission begins one of the three ways in.
func (c *Client) newSubmission(inv Invocation, m mode) *submission {
	return &submission{Client: c, Invocation: inv, mode: m, watch: stopwatch{time.Now()}, key: uuid.NewString(), undraft: func() {}}
}

// Run packs the files, has the command or the flow run and waits for it: a direct call.
//
// A run that ended has a state that says how, and the error is nil, also when it failed,
// crashed or took too long. When ctx ends, the run is cancelled: it gets SIGINT, then SIGTERM,
// then SIGKILL, and ends CANCELLED. An error means that there is no such run, or that its end
// is not known.
func (c *Client) Run(ctx context.Context, inv Invocation) (*Run, error) {
	if err := c.needExecutor(ctx); err != nil {
		return nil, err
	}
	s := c.newSubmission(inv, modeRun)
	if err := s.submit(ctx); err != nil {
		return nil, err
	}
	end, err := c.launcher(s.runs).Launch(ctx, worker.Launch{
		Run: s.created, Lease: s.lease, Stdout: s.Stdout, Stderr: s.Stderr, Keep: s.Keep, Kill: s.Kill,
		Accepted: func() { s.run.Timings.Launch = s.watch.lap() },
	})
	if end != nil && err == nil && !end.State.Type.Final() {
		err = fmt.Errorf("flow run %q is %s, and goes on without this process", s.run.ID, end.State.Name)
	}
	if end == nil || !end.State.Type.Final() {
		return nil, fmt.Errorf("submit: %w", err)
	}
	s.run.Timings.Run = s.watch.lap()
	s.refresh(context.WithoutCancel(ctx))
	s.run.State, s.run.Result, s.run.ExitCode, s.run.Dir = end.State, end.Result, end.ExitCode, end.Dir
	if s.run.Result == nil && end.State.Type == orchestrator.TypeCompleted && s.onPrefect() {
		s.run.Result, err = s.Result(context.WithoutCancel(ctx), s.run.ID)
		if errors.Is(err, ErrNotPersisted) {
			s.warn(err)
			err = nil
		}
		if err != nil {
			return &s.run, err
		}
	}
	for _, w := range end.Warnings {
		s.warn(fmt.Errorf("submit: %w", w))
	}
	if err != nil {
		return &s.run, &LaunchError{ID: s.run.ID, Err: fmt.Errorf("submit: %w", err)}
	}
	return &s.run, nil
}

// Submit packs the files and has the command or the flow launched, and returns when the
// infrastructure has accepted the job. The run goes on by itself, also when this process ends:
// a process of its own looks after it. Stdout, Stderr and Keep are of no account; what the
// program prints is in the run's logs.
func (c *Client) Submit(ctx context.Context, inv Invocation) (*Run, error) {
	if err := c.needExecutor(ctx); err != nil {
		return nil, err
	}
	s := c.newSubmission(inv, modeSubmit)
	if err := s.submit(ctx); err != nil {
		return nil, err
	}
	if err := c.detach(ctx, s.runs, s.created.ID, s.lease); err != nil {
		return nil, err
	}
	s.run.Timings.Launch = s.watch.lap()
	s.refresh(ctx)
	return &s.run, nil
}

// refresh learns what is recorded of the run by now.
func (s *submission) refresh(ctx context.Context) {
	if run, err := s.runs.FlowRun(ctx, s.run.ID); err == nil {
		s.run.copyRecorded(run)
	}
}

// SubmitToWorkPool packs the files and leaves the run to the workers of its work pool.
func (c *Client) SubmitToWorkPool(ctx context.Context, inv Invocation) (*Run, error) {
	s := c.newSubmission(inv, modeQueue)
	if err := s.submit(ctx); err != nil {
		return nil, err
	}
	return &s.run, nil
}

// executorCommand is the executor's command line with the tokens of an execution launcher in
// place of its program.
func executorCommand(launcher []string, n *orchestrator.NewFlowRun) []string {
	return worker.Command(slices.Concat(launcher, []string{"step"}), &orchestrator.FlowRun{Bundle: n.Bundle, Results: n.Results})
}

// prefectPatience is longer than an executor of a Prefect server's run takes, which gives a flow
// half a minute.
const prefectPatience = 40 * time.Second

// patience is how long a run that is being cancelled is left to its executor: that of a flow in
// Python or of a deployment tells Prefect's engine, which would take a signal for a crash. Others
// wait for the signal.
func (c *Client) patience(run *orchestrator.FlowRun) time.Duration {
	if !c.onPrefect() {
		return 0
	}
	_, note, err := runOf(run)
	if err != nil || run.Bundle.Key != "" && note.Runtime != bundle.RuntimePython {
		return 0
	}
	return prefectPatience
}

// launcher launches this client's runs.
func (c *Client) launcher(runs backend) *worker.Launcher {
	return &worker.Launcher{
		Runs:           runs,
		Watcher:        c.watcher(runs),
		Infrastructure: c.infrastructure,
		Executor:       c.executor,
		Env:            c.environ,
		Access:         c.access,
		Settings:       c.settings,
		Elsewhere:      c.elsewhere,
		References:     c.references(),
		Grace:          c.grace,
		Patience:       c.patience,
		Lease:          c.length,
		Storage:        c.storage,
		Refused:        c.distrust,
	}
}

// Launch launches the run with this id, which somebody else has created, and waits for its end.
// It is what the process does that [Client.Submit] leaves behind. Accepted, if not nil, is called
// when the infrastructure has accepted the job.
func (c *Client) Launch(ctx context.Context, id string, accepted func()) error {
	if err := c.needExecutor(ctx); err != nil {
		return err
	}
	runs, err := c.openRuns(ctx)
	if err != nil {
		return err
	}
	lease := orchestrator.NewLease("launcher", c.length)
	if err := runs.Hold(ctx, id, lease); err != nil {
		return fmt.Errorf("submit: %w", executor.NotHeld(id, err))
	}
	run, err := runs.FlowRun(ctx, id)
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if _, err := c.launcher(runs).Launch(ctx, worker.Launch{Run: run, Lease: lease, Accepted: accepted}); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	return nil
}
