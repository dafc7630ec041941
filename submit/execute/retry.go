package execute

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// retried proposes the end of a run that failed before its record is stored, if it is to be
// expected that it will be run again: then the answer is when. Otherwise it returns nil, and the
// run is to be ended as any other.
func (x *execution) retried(ctx context.Context, e *ending) *time.Time {
	if x.Runs == nil || e.Type != orchestrator.TypeFailed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTime)
	defer cancel()
	run, err := x.Runs.FlowRun(ctx, x.FlowRunID)
	if err != nil || run.Policy.Retries == 0 || run.RunCount > run.Policy.Retries {
		return nil
	}
	// What follows an error here proposes the same state once more.
	out, err := x.Runs.SetState(ctx, x.FlowRunID, e.State, nil)
	if err != nil || out.Status != orchestrator.Rejected || out.State.Name != orchestrator.NameAwaitingRetry {
		return nil
	}
	due := out.State.Scheduled
	x.note(levelWarning, fmt.Sprintf("%s; the next attempt is due in %v", e.Message, max(0, time.Until(due)).Round(time.Millisecond)))
	return &due
}

// await waits until the next attempt is due, or returns how the run ends before.
func (x *execution) await(ctx context.Context, due time.Time) *ending {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	if x.heard != nil { // whoever wants an end does not mean the attempt alone
		return x.stoppedBetween(x.heard)
	}
	for {
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			message := fmt.Sprintf("stopped while it waited for its next attempt: %v", context.Cause(ctx))
			return &ending{State: orchestrator.NewState(orchestrator.TypeCrashed, message), code: signalCode(os.Interrupt)}
		case s := <-x.Signals:
			if ends(s) {
				return x.stoppedBetween(s)
			}
		}
	}
}

func (x *execution) stoppedBetween(s os.Signal) *ending {
	message := fmt.Sprintf("stopped by signal %q while it waited for its next attempt", s)
	if s == syscall.SIGHUP && x.Grouped {
		message = goneMessage
	}
	return &ending{State: orchestrator.NewState(orchestrator.TypeCrashed, message), code: signalCode(s)}
}

// ends reports whether the signal asks for an end. Others mean something to some commands only.
func ends(s os.Signal) bool {
	return slices.Contains([]os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP}, s)
}
