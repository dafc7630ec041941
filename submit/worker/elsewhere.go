package worker

import (
	"context"
	"time"

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

// hush ends the writing of logs for an executor that cannot write them.
func (a *attempt) hush() {
	if a.scribe != nil {
		a.scribe.Close()
		a.scribe = nil
	}
}

// retried proposes how an attempt ended whose executor cannot. When the run is to be run again, it
// says when.
func (a *attempt) retried(ctx context.Context, r *execute.Record) (*time.Time, error) {
	if !a.speaks() || r.State.Type != orchestrator.TypeFailed {
		return nil, nil
	}
	out, err := a.Runs.SetState(ctx, a.Run.ID, r.State, nil)
	if err != nil || !out.State.AwaitsRetry() {
		return nil, err
	}
	due := out.State.Scheduled
	return &due, nil
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
