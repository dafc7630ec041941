package submit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

const exitCancelled = 130

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
	if err := errors.Join(err, s.conclude(whole, exit, cancelled)); err != nil {
		return &s.run, fmt.Errorf("submit: %w", err)
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

// notStarted ends a run that never got an executor.
func (s *submission) notStarted(ctx context.Context, err error, cancelled bool) (*Run, error) {
	state := orchestrator.NewState(orchestrator.TypeCrashed, "the executor could not be started: "+err.Error())
	if cancelled {
		state = orchestrator.NewState(orchestrator.TypeCancelled, cancelMessage(err))
	}
	out, stateErr := s.runs.SetState(ctx, s.run.ID, state, nil)
	if stateErr == nil {
		s.run.State = out.State
	}
	if !cancelled || stateErr != nil {
		return nil, fmt.Errorf("submit: %w", errors.Join(err, stateErr))
	}
	s.run.ExitCode = exitCancelled
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
	if err := running.Stop(ctx, s.grace); err != nil {
		message += fmt.Sprintf("; what it started may still run: %v", err)
		out, endErr := s.runs.SetState(ctx, s.run.ID, orchestrator.NewState(orchestrator.TypeCancelled, message), nil)
		if endErr == nil {
			s.run.State = out.State
		}
		return nil, errors.Join(err, stateErr, endErr)
	}
	exit, err := running.Wait(ctx)
	return exit, errors.Join(err, stateErr)
}

// conclude reads how the run ended, and fills in what nobody told.
func (s *submission) conclude(ctx context.Context, exit *launch.Exit, cancelled bool) error {
	run, err := s.runs.FlowRun(ctx, s.run.ID)
	if err != nil {
		return err
	}
	if s.run.State = run.State; !run.State.Type.Final() {
		state := orchestrator.NewState(orchestrator.TypeCrashed, "the executor ended without a word about the run, "+exit.Explain())
		if cancelled {
			state = orchestrator.NewState(orchestrator.TypeCancelled, run.State.Message)
		}
		out, err := s.runs.SetState(ctx, s.run.ID, state, nil)
		if err != nil {
			return err
		}
		s.run.State = out.State
	}
	record, err := execute.ReadRecord(ctx, s.bucket, s.run.ID)
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return err
	default:
		s.run.Result, s.run.ExitCode = record.Result, record.ExitCode
	}
	switch {
	case s.run.State.Type == orchestrator.TypeCancelled:
		s.run.ExitCode = exitCancelled
	case s.run.State.Type != orchestrator.TypeCompleted && s.run.ExitCode == 0:
		s.run.ExitCode = 1
	}
	return nil
}
