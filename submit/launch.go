package submit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// launch has the bundle executed, waits for it and sees to it that the run ends in a final
// state.
func (s *submission) launch(ctx context.Context) (*Run, error) {
	// Whatever happens to the caller, the end of the run has to be recorded.
	whole := context.WithoutCancel(ctx)
	ctx, stopKeeping := orchestrator.Keep(ctx, s.runs, s.lease)
	defer stopKeeping()
	defer s.letGo(whole)
	running, err := s.start(ctx)
	if err != nil {
		return s.notStarted(whole, err, ctx.Err() != nil && !errors.Is(err, orchestrator.ErrLeaseLost))
	}
	s.run.Timings.Launch = s.watch.lap()
	exit, err := running.Wait(ctx)
	lost := exit == nil && errors.Is(context.Cause(ctx), orchestrator.ErrLeaseLost)
	cancelled := exit == nil && !lost && ctx.Err() != nil
	switch {
	case lost:
		exit, err = s.abandon(whole, running)
	case cancelled:
		exit, err = s.cancel(whole, running, context.Cause(ctx))
	}
	if exit == nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	s.run.Timings.Run = s.watch.lap()
	s.run.Dir, s.run.ExitCode = exit.Dir, exit.Code
	s.warn(err)
	if err := s.conclude(whole, exit, cancelled, lost); err != nil {
		return &s.run, fmt.Errorf("submit: %w", err)
	}
	if s.run.State.Type == orchestrator.TypeCrashed && s.run.ExitCode == execute.ExitRefused {
		s.warn(s.distrust())
	}
	return &s.run, nil
}

// letGo leaves a run whose end could not be told to whoever looks next.
func (s *submission) letGo(ctx context.Context) {
	if !s.run.State.Type.Final() {
		// If this fails as well, the lease expires.
		s.runs.Release(ctx, s.lease)
	}
}

// abandon stops what runs for a run that somebody else has ended. That may have been the
// executor, which then is about to end.
func (s *submission) abandon(ctx context.Context, running *launch.Running) (*launch.Exit, error) {
	soon, stop := context.WithTimeout(ctx, s.grace)
	defer stop()
	if exit, err := running.Wait(soon); exit != nil {
		return exit, err
	}
	if err := running.Stop(ctx, s.grace); err != nil {
		return nil, err
	}
	return running.Wait(ctx)
}

// warn notes an error that leaves no doubt about the run.
func (s *submission) warn(err error) {
	if err != nil {
		s.run.Warnings = append(s.run.Warnings, fmt.Errorf("submit: %w", err))
	}
}

// notStarted ends a run that never got an executor.
func (s *submission) notStarted(ctx context.Context, err error, cancelled bool) (*Run, error) {
	state := orchestrator.NewState(orchestrator.TypeCrashed, "the executor could not be started: "+err.Error())
	if cancelled {
		state = orchestrator.NewState(orchestrator.TypeCancelled, cancelMessage(err))
	}
	now := time.Now().UTC()
	record := &execute.Record{ID: s.run.ID, State: state, ExitCode: execute.ExitUnavailable, Started: now, Ended: now}
	stateErr := s.settle(ctx, record)
	if !cancelled || stateErr != nil {
		return nil, fmt.Errorf("submit: %w", errors.Join(err, stateErr))
	}
	return &s.run, nil
}

func cancelMessage(cause error) string { return fmt.Sprintf("cancelled: %v", cause) }

func (s *submission) start(ctx context.Context) (*launch.Running, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.path("run"), 0o700); err != nil {
		return nil, err
	}
	b := &s.run.Bundle
	return s.infra.Start(ctx, launch.Job{
		Command: slices.Concat(s.executor, []string{"execute", "--url", b.URL, "--key", b.Key, "--digest", b.digest.String()}),
		Env:     s.environ(),
		Name:    s.run.Name,
		Stdout:  s.Stdout,
		Stderr:  s.Stderr,
		Keep:    s.Keep,
	})
}

// cancel stops the run. It is CANCELLING first, so that whatever the executor says about the
// command that it is told to stop comes too late.
func (s *submission) cancel(ctx context.Context, running *launch.Running, cause error) (*launch.Exit, error) {
	message := cancelMessage(cause)
	_, stateErr := s.runs.SetState(ctx, s.run.ID, orchestrator.NewState(orchestrator.TypeCancelling, message), nil)
	if err := s.stop(ctx, running); err != nil {
		message += fmt.Sprintf("; what it started may still run: %v", err)
		now := time.Now().UTC()
		state := orchestrator.NewState(orchestrator.TypeCancelled, message)
		endErr := s.settle(ctx, &execute.Record{ID: s.run.ID, State: state, ExitCode: execute.ExitCancelled, Started: now, Ended: now})
		return nil, errors.Join(err, stateErr, endErr)
	}
	exit, err := running.Wait(ctx)
	return exit, errors.Join(err, stateErr)
}

// stop ends what was started, by and by or, when told so, at once.
func (s *submission) stop(ctx context.Context, running *launch.Running) error {
	patient, hurry := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-s.Kill:
			hurry()
		case <-patient.Done():
		}
	})
	err := running.Stop(patient, s.grace)
	if err != nil && patient.Err() != nil {
		err = running.Stop(ctx, time.Nanosecond)
	}
	hurry()
	watch.Wait()
	return err
}

// conclude reads how the run ended, and fills in what nobody told.
func (s *submission) conclude(ctx context.Context, exit *launch.Exit, cancelled, lost bool) error {
	run, err := s.runs.FlowRun(ctx, s.run.ID)
	if err != nil {
		return err
	}
	state := run.State
	if lost && state.Type.Final() { // somebody else ended it, and what is left of it is theirs
		s.ended(&execute.Record{ExitCode: exit.Code}, state)
		return nil
	}
	record, err := execute.ReadRecord(ctx, s.run.Bundle.URL, s.run.ID)
	if err != nil && !errors.Is(err, execute.ErrNoRecord) {
		if state.Type == orchestrator.TypeCompleted {
			return err // its result is not known
		}
		s.warn(err)
	}
	told := record != nil && record.State.Type.Final()
	if !told {
		record = &execute.Record{ID: s.run.ID, ExitCode: exit.Code, Started: run.Started, Ended: time.Now().UTC()}
		if run.Started.IsZero() {
			record.Started = run.Created
		}
	}
	switch {
	case state.Type.Final():
	case cancelled:
		state = orchestrator.NewState(orchestrator.TypeCancelled, state.Message)
	case told: // the executor died in between
		state = record.State
		state.ID = uuid.NewString()
	default:
		state = orchestrator.NewState(orchestrator.TypeCrashed, "the executor ended without a word about the run, "+exit.Explain())
	}
	if told && state.ID == run.State.ID && state.Type == record.State.Type {
		s.ended(record, state)
		return nil
	}
	record.State = state
	return s.settle(ctx, record)
}

// settle ends the run as the record says, unless it has ended already.
func (s *submission) settle(ctx context.Context, r *execute.Record) error {
	r.ExitCode = exitCode(r.State.Type, r.ExitCode)
	err := r.Settle(ctx, s.run.Bundle.URL, s.runs)
	if errors.Is(err, execute.ErrNotRecorded) {
		s.warn(err)
		err = nil
	}
	s.ended(r, r.State)
	return err
}

func (s *submission) ended(r *execute.Record, state orchestrator.State) {
	s.run.State, s.run.Result, s.run.ExitCode = state, r.Result, exitCode(state.Type, r.ExitCode)
}

// exitCode: that of a run which did not complete is not 0.
func exitCode(t orchestrator.StateType, code int) int {
	switch {
	case t == orchestrator.TypeCancelled:
		return execute.ExitCancelled
	case t != orchestrator.TypeCompleted && code == 0:
		return 1
	}
	return code
}
