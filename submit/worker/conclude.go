package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// conclude reads how the run ended, and fills in what nobody told.
func (a *attempt) conclude(ctx context.Context, exit *launch.Exit, stopped, lost bool) (again *time.Time, err error) {
	a.hush()
	run, err := a.Runs.FlowRun(ctx, a.Run.ID)
	if err != nil {
		return nil, err
	}
	state := run.State
	if superseded, err := a.superseded(ctx, state, lost); superseded || err != nil {
		a.end.ExitCode = exitCode(a.end.State, exit.Code)
		return nil, err
	}
	record, err := a.record(ctx)
	if err != nil && !errors.Is(err, execute.ErrNoRecord) {
		if state.Type == orchestrator.TypeCompleted {
			return nil, err // its result is not known
		}
		a.warn(err)
	}
	told := record != nil && record.State.Type.Final()
	if stopped && !told && state.Type == orchestrator.TypeCrashed {
		if state, err = a.notCrashed(ctx, state); err != nil {
			return nil, err
		}
	}
	if state.Type.Final() && (lost || !told) { // somebody else ended it, and what is left of it is theirs
		a.ended(&execute.Record{ExitCode: exit.Code}, state)
		return nil, nil
	}
	if !told {
		record = &execute.Record{ID: a.Run.ID, ExitCode: exit.Code, Started: run.Started, Ended: time.Now().UTC()}
		if run.Started.IsZero() {
			record.Started = run.Created
		}
	}
	switch {
	case state.Type.Final():
	case stopped:
		state = stoppedState(a.cause, stopMessage(a.cause))
	case state.Type == orchestrator.TypeCancelling: // it ended before it was told to
		state = orchestrator.NewState(orchestrator.TypeCancelled, state.Message)
	case told: // the executor died in between
		state = record.State
		state.ID = uuid.NewString()
		if exit.Reason != "" && state.Type != orchestrator.TypeCompleted { // it sees more than the executor did
			state.Message += ": " + exit.Reason
		}
	case exit.Code == 0 && (state.Type == orchestrator.TypePaused || state.Type == orchestrator.TypeScheduled):
		a.end.State = state // Prefect's engine has suspended or rescheduled it
		return nil, nil
	case a.gone:
		state = orchestrator.NewState(orchestrator.TypeCrashed, "nobody looked after the run for a while, and its job is not there any more")
	default:
		state = orchestrator.NewState(orchestrator.TypeCrashed, "the executor ended without a word about the run, "+exit.Explain())
	}
	if told && state.ID == run.State.ID && state.Type == record.State.Type {
		a.ended(record, state)
		return nil, nil
	}
	record.State = state
	if again, err := a.retried(ctx, record); again != nil || err != nil {
		return again, err
	}
	return nil, a.settle(ctx, record)
}

// notCrashed has a run CANCELLED that was to be, and whose job called the signal with which it was
// stopped a crash, as Prefect's engine does.
func (a *attempt) notCrashed(ctx context.Context, crashed orchestrator.State) (orchestrator.State, error) {
	state := stoppedState(a.cause, stopMessage(a.cause))
	if state.Type != orchestrator.TypeCancelled {
		return crashed, nil
	}
	out, err := a.Runs.SetState(ctx, a.Run.ID, state, &orchestrator.SetStateOptions{Force: true, Follows: crashed.ID})
	if err != nil {
		return crashed, err
	}
	return out.State, nil
}

// superseded reports whether the run goes on for somebody else before this launcher saw that its job
// has ended: it had ended and was asked to be run again, or it was suspended and claimed again. Then it
// is not this launcher's any more.
func (a *attempt) superseded(ctx context.Context, state orchestrator.State, lost bool) (bool, error) {
	if state.Type.Final() {
		return false, nil
	}
	// As long as the lease is held, nobody else ends the run: its executor is gone.
	held := !lost && !errors.Is(a.Runs.Renew(ctx, a.Launch.Lease), orchestrator.ErrLeaseLost)
	states, err := a.Runs.States(ctx, a.Run.ID)
	if err != nil {
		return false, err
	}
	if left := claimedAgain(states, a.Run.State.ID); left != nil {
		a.end.State = *left
		return true, nil
	}
	if held {
		return false, nil
	}
	for _, s := range slices.Backward(states) {
		if s.Type.Final() {
			a.end.State = s
			return true, nil
		}
	}
	return false, nil
}

// claimedAgain returns the state in which a run was left to whoever claims it next, if somebody has
// since the state with this id; else nil.
func claimedAgain(states []orchestrator.State, since string) *orchestrator.State {
	i := slices.IndexFunc(states, func(s orchestrator.State) bool { return s.ID == since })
	if i < 0 {
		return nil
	}
	var left *orchestrator.State
	for _, s := range states[i+1:] {
		switch {
		case s.Type == orchestrator.TypePending && left != nil:
			return left
		case s.Type == orchestrator.TypePaused, s.Type == orchestrator.TypeScheduled && !s.AwaitsRetry():
			left = &s
		}
	}
	return nil
}

// record reads what the executor left. Prefect's own leave nothing.
func (a *attempt) record(ctx context.Context) (*execute.Record, error) {
	if a.results() == "" {
		return nil, execute.ErrNoRecord
	}
	return execute.ReadRecord(ctx, a.results(), a.Run.ID, a.Storage)
}

// results is the URL of the store of the run's record.
func (a *attempt) results() string {
	if a.Run.Results != "" {
		return a.Run.Results
	}
	return a.Run.Bundle.URL
}

// settle ends the run as the record says, unless it has ended already.
func (a *attempt) settle(ctx context.Context, r *execute.Record) error {
	r.ExitCode = exitCode(r.State, r.ExitCode)
	err := r.Settle(ctx, a.results(), a.Runs, a.Storage)
	if errors.Is(err, execute.ErrNotRecorded) {
		a.warn(err)
		err = nil
	}
	if err != nil {
		return err // who looks next ends it
	}
	a.ended(r, r.State)
	return nil
}

func (a *attempt) ended(r *execute.Record, state orchestrator.State) {
	a.end.State, a.end.Result, a.end.ExitCode = state, r.Result, exitCode(state, r.ExitCode)
}

// exitCode: that of a run which did not complete is not 0, also where the executor's was.
func exitCode(s orchestrator.State, code int) int {
	switch {
	case s.Type == orchestrator.TypeCancelled:
		return execute.ExitCancelled
	case s.Type == orchestrator.TypeFailed && s.Name == orchestrator.NameTimedOut && code == 0:
		return execute.ExitTimedOut
	case s.Type != orchestrator.TypeCompleted && code == 0:
		return 1
	}
	return code
}
