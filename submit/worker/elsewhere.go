package worker

import (
	"context"
	"time"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// begun says that the run is RUNNING, for an executor that cannot.
func (a *attempt) begun(ctx context.Context) {
	if !a.speaks() {
		return
	}
	state := orchestrator.NewState(orchestrator.TypeRunning, "")
	if a.attempts++; a.attempts > 1 {
		state.Name = orchestrator.NameRetrying
	}
	// Where it is not accepted, who watches the run sees why.
	_, err := a.Runs.SetState(ctx, a.Run.ID, state, nil)
	a.warn(err)
}

// startAgain launches the run once more. Until the next job is known to have begun, nobody could
// tell whether it has: then the run has no infrastructure, and is not taken up.
func (a *attempt) startAgain(ctx context.Context) (*launch.Running, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	a.found, a.again = false, true
	whole := context.WithoutCancel(ctx)
	if err := a.Runs.SetInfrastructure(whole, a.Run.ID, ""); err != nil {
		return nil, err
	}
	// What the last attempt left is not to pass for what the next one leaves.
	if url := a.results(); url != "" {
		if err := execute.DeleteRecord(whole, url, a.Run.ID, a.Storage); err != nil {
			return nil, err
		}
	}
	return a.start(ctx)
}

// hush ends the writing of logs for an executor that cannot write them.
func (a *attempt) hush() {
	if a.scribe != nil {
		a.scribe.Close()
		a.scribe = nil
	}
}

// leave leaves the writing of logs to somebody else.
func (a *attempt) leave() {
	if a.scribe != nil {
		a.scribe.Leave()
		a.scribe = nil
	}
}

// retried proposes how an attempt ended whose executor cannot. When the run is to be run again, it
// says when.
func (a *attempt) retried(ctx context.Context, r *execute.Record) (*time.Time, error) {
	if !a.speaks() || r.State.Type != orchestrator.TypeFailed {
		return nil, nil
	}
	if a.Run.Policy.Retries > 0 {
		// By the clock by which logs are written, and after the last of them: see written.
		r.State.Timestamp = time.Now().UTC()
	}
	out, err := a.Runs.SetState(ctx, a.Run.ID, r.State, nil)
	if err != nil || !out.State.AwaitsRetry() {
		return nil, err
	}
	due := out.State.Scheduled
	return &due, nil
}

// awaitRetry waits until the run is due again, unless somebody wants it to end before.
func (a *attempt) awaitRetry(ctx context.Context, due time.Time) error {
	watched, unwatch := a.watch(ctx)
	defer unwatch()
	if err := sleepUntil(watched, due); err != nil {
		return err
	}
	// The watch may not have seen what is a moment old.
	run, err := a.Runs.FlowRun(ctx, a.Run.ID)
	if err == nil && run.State.Type == orchestrator.TypeCancelling {
		return &askedError{run.State.Message}
	}
	return nil
}

// sleepUntil waits until the moment, or returns the cause of the end of ctx.
func sleepUntil(ctx context.Context, due time.Time) error {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
