package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// letGo leaves a run whose end could not be told to whoever looks next.
func (a *attempt) letGo(ctx context.Context) {
	if !a.end.State.Type.Final() {
		// If this fails as well, the lease expires.
		a.Runs.Release(ctx, a.Launch.Lease)
	}
}

// abandon stops what runs for a run that somebody else has ended. That may have been the
// executor, which then is about to end.
func (a *attempt) abandon(ctx context.Context, running *launch.Running) (*launch.Exit, error) {
	soon, stop := context.WithTimeout(ctx, a.Grace)
	defer stop()
	if exit, err := running.Wait(soon); exit != nil {
		return exit, err
	}
	if err := running.Stop(ctx, a.Grace); err != nil {
		return nil, err
	}
	return running.Wait(ctx)
}

// warn notes an error that leaves no doubt about the run.
func (a *attempt) warn(err error) {
	if err != nil {
		a.end.Warnings = append(a.end.Warnings, fmt.Errorf("worker: %w", err))
	}
}

// stoppedState is how a run ends that was stopped because of the cause.
func stoppedState(cause error, message string) orchestrator.State {
	if errors.Is(cause, ErrStopped) {
		return orchestrator.NewState(orchestrator.TypeCrashed, message)
	}
	return orchestrator.NewState(orchestrator.TypeCancelled, message)
}

func stopMessage(cause error) string {
	var asked *askedError
	switch {
	case errors.As(cause, &asked):
		return asked.message
	case errors.Is(cause, ErrStopped):
		return cause.Error()
	}
	return fmt.Sprintf("cancelled: %v", cause)
}

// notStarted ends a run that never got an executor, or none for its retry, if that is still for
// this launcher to say.
func (a *attempt) notStarted(ctx context.Context, err error, stopped bool) (*End, error) {
	if errors.Is(err, ErrLeft) {
		return &a.end, wrapped(err)
	}
	if errors.Is(err, orchestrator.ErrLeaseLost) {
		if run, err := a.Runs.FlowRun(ctx, a.Run.ID); err == nil && !run.State.Type.Final() {
			return &a.end, errTakenUp
		}
		stopped = false
	}
	state := orchestrator.NewState(orchestrator.TypeCrashed, "the executor could not be started: "+err.Error())
	if stopped {
		state = stoppedState(err, stopMessage(err))
	}
	settleErr := a.settle(ctx, execute.NotRun(a.Run.ID, state, execute.ExitUnavailable))
	if !stopped || settleErr != nil {
		return &a.end, fmt.Errorf("worker: %w", errors.Join(err, settleErr))
	}
	return &a.end, nil
}

// notRun ends a run whose job the platform had accepted, and could not run, or lost. If the executor
// has ended all the same, that is the end: a job that is gone may have been whole.
func (a *attempt) notRun(ctx context.Context, err error) (end *End, again *time.Time, _ error) {
	a.hush()
	if record, unread := a.record(ctx); unread == nil && record.State.Type.Final() {
		a.warn(err)
		again, err = a.conclude(ctx, &launch.Exit{Code: record.ExitCode}, false, false)
		return &a.end, again, wrapped(err)
	}
	state := orchestrator.NewState(orchestrator.TypeCrashed, "the job was not run to its end: "+err.Error())
	settleErr := a.settle(ctx, execute.NotRun(a.Run.ID, state, execute.ExitUnavailable))
	return &a.end, nil, fmt.Errorf("worker: %w", errors.Join(err, settleErr))
}

// cancel stops the run. It is CANCELLING first, so that whatever the executor says about the
// command that it is told to stop comes too late.
func (a *attempt) cancel(ctx context.Context, running *launch.Running, cause error) (*launch.Exit, error) {
	a.cause = cause
	message := stopMessage(cause)
	var asked *askedError
	var stateErr error
	told := errors.As(cause, &asked)
	if !told && !errors.Is(cause, ErrStopped) {
		stateErr = a.tellCancelling(ctx, message)
		told = stateErr == nil
	}
	if told {
		if exit, err := a.endsItself(ctx, running); exit != nil {
			return exit, err
		}
	}
	if err := a.stop(ctx, running); err != nil {
		message += fmt.Sprintf("; what it started may still run: %v", err)
		endErr := a.settle(ctx, execute.NotRun(a.Run.ID, stoppedState(cause, message), execute.ExitCancelled))
		return nil, errors.Join(err, stateErr, endErr)
	}
	exit, err := running.Wait(ctx)
	return exit, errors.Join(err, stateErr)
}

// tellTime is how long a backend may take to hear that a run is being cancelled, before the run is
// stopped without that.
const tellTime = 5 * time.Second

func (a *attempt) tellCancelling(ctx context.Context, message string) error {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	_, err := a.Runs.SetState(ctx, a.Run.ID, orchestrator.NewState(orchestrator.TypeCancelling, message), nil)
	return err
}

// endsItself gives the executor of a run that has begun the time to hear that it is CANCELLING, and
// to end. A signal could be quicker, and Prefect's engine then says that the run has CRASHED.
func (a *attempt) endsItself(ctx context.Context, running *launch.Running) (*launch.Exit, error) {
	if a.Patience == nil || a.Patience(a.Run) <= 0 || a.alone {
		return nil, nil
	}
	run, err := a.Runs.FlowRun(ctx, a.Run.ID)
	if err != nil || run.Started.IsZero() {
		return nil, nil // whoever is there need not listen yet
	}
	patient, hurry := context.WithTimeout(ctx, a.Patience(a.Run))
	defer a.hurried(patient, hurry)()
	return running.Wait(patient)
}

// hurried has hurry called when the run is to be killed, until done is called.
func (a *attempt) hurried(patient context.Context, hurry context.CancelFunc) (done func()) {
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-a.Kill:
			hurry()
		case <-patient.Done():
		}
	})
	return func() {
		hurry()
		watch.Wait()
	}
}

// stop ends what was started, by and by or, when told so, at once.
func (a *attempt) stop(ctx context.Context, running *launch.Running) error {
	patient, hurry := context.WithCancel(ctx)
	defer a.hurried(patient, hurry)()
	err := running.Stop(patient, a.Grace)
	if err == nil {
		running.Wait(patient) // some platforms end it later; who calls asks again how it ended
	}
	if patient.Err() != nil {
		err = running.Stop(ctx, time.Nanosecond)
	}
	return err
}
