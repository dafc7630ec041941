package submit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// ErrNoStorage: workers elsewhere could not get at the bundle.
var ErrNoStorage = errors.New("storage is not configured, and workers would not find the bundle")

// chooseLauncher says what stands before the step that executes the bundle. On a Prefect server
// this is the pool's own step, which Prefect's workers can run; flowship stands in for Python where
// there is nothing for Python to do. Elsewhere it is flowship's step.
func (s *submission) chooseLauncher() error {
	var tokens []string
	if s.Launcher != nil {
		tokens = s.Launcher.Execution
	}
	if !s.onPrefect() {
		configured, err := executionLauncher(s.pool)
		if s.tokens = configured; len(tokens) > 0 {
			s.tokens = tokens
		}
		return err
	}
	storage, err := storageOf(s.pool)
	if err != nil {
		return err
	}
	if storage == nil || storage.Upload == nil || storage.Execution == nil {
		switch {
		case s.mode == modeQueue:
			return ErrNoStorage
		case len(tokens) > 0:
			return &InvalidError{"a launcher stands before the steps of the work pool's storage, which is not configured"}
		}
		return nil
	}
	step := *storage.Execution
	switch {
	case len(tokens) > 0:
		step = step.With(tokens)
	case s.Runtime != bundle.RuntimePython && step.Launcher != nil && !callsFlowship(step.Launcher):
		s.warn(fmt.Errorf("submit: the launcher of work pool %q, %q, is for flows in Python: flowship stands in its place", s.pool.Name, launch.Join(step.Launcher)))
		step = step.With([]string{"flowship"})
	case step.Launcher != nil:
	case s.mode != modeQueue: // it is launched from here, by flowship's own step
		return nil
	case s.Runtime != bundle.RuntimePython:
		step = step.With([]string{"flowship"})
	}
	s.step = &step
	return nil
}

// callsFlowship reports whether a launcher calls flowship, at its end or further in front.
func callsFlowship(launcher []string) bool {
	return slices.ContainsFunc(launcher, func(word string) bool {
		return strings.TrimSuffix(filepath.Base(filepath.ToSlash(word)), ".exe") == "flowship"
	})
}

// flowOptions are what the flow is to be run with, of Prefect's Flow.with_options: what the
// invocation says, and that its result is kept where the pool keeps results, so that it can be read
// from here. A flow that says so itself keeps its own way.
func (s *submission) flowOptions(ctx context.Context) (map[string]any, error) {
	if s.Runtime != bundle.RuntimePython || !s.onPrefect() {
		return nil, nil
	}
	options := map[string]any{}
	if s.Retries > 0 {
		options["retries"], options["retry_delay_seconds"] = s.Retries, s.RetryDelay.Seconds()
	}
	if s.Timeout > 0 {
		options["timeout_seconds"] = s.Timeout.Seconds()
	}
	if s.Version != "" {
		options["version"] = s.Version
	}
	storage, err := storageOf(s.pool)
	switch {
	case err != nil || s.namesResultStorage():
		return options, err
	case storage == nil || storage.Results == nil:
		if s.mode != modeQueue {
			options["persist_result"] = true // it runs on this machine, whose disk both see
		}
		return options, nil
	}
	api, err := s.api(ctx)
	if err != nil {
		return nil, err
	}
	block, err := api.BlockDocumentByID(ctx, *storage.Results)
	if err != nil {
		return nil, fmt.Errorf("the result storage of work pool %q: %w", s.pool.Name, err)
	}
	options["persist_result"], options["result_storage"] = true, block.Type+"/"+block.Name
	return options, nil
}

// draft creates the run before its document is stored.
func (s *submission) draft(ctx context.Context) error {
	n, err := s.newFlowRun()
	if err != nil {
		return err
	}
	// Not to be interrupted: whether there is a run must be known.
	if s.created, err = s.runs.CreateFlowRun(context.WithoutCancel(ctx), *n); err != nil {
		return err
	}
	s.run.ID = s.created.ID
	// Storing the document may take its time. When somebody ends the run meanwhile, its release
	// tells.
	_, s.undraft = orchestrator.Keep(context.WithoutCancel(ctx), s.runs, s.lease)
	return nil
}

// release says where the bundle is, now that it is stored, and has workers take the run.
func (s *submission) release(ctx context.Context) error {
	note, err := s.remembered()
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	b := s.stored()
	// Not to be interrupted: what holds must be known.
	whole := context.WithoutCancel(ctx)
	if err := s.runs.(orchestrator.Assigner).SetBundle(whole, s.run.ID, b, note); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	s.created.Bundle, s.created.Submission = b, note
	if s.mode == modeQueue {
		out, err := s.runs.SetState(whole, s.run.ID, orchestrator.NewState(orchestrator.TypeScheduled, ""), nil)
		if err != nil {
			return fmt.Errorf("submit: %w", err)
		}
		if s.created.State = out.State; out.Status != orchestrator.Accepted {
			return fmt.Errorf("submit: flow run %q is %s by now: %s", s.run.ID, out.State.Name, out.Reason)
		}
	}
	s.run.copyRecorded(s.created)
	s.run.Timings.Create += s.watch.lap()
	return nil
}

// endDrafted ends a run that cannot be released.
func (s *submission) endDrafted(ctx context.Context, cause error) error {
	whole := context.WithoutCancel(ctx)
	var err error
	if ctx.Err() != nil && errors.Is(cause, context.Canceled) { // nothing went wrong
		state := orchestrator.NewState(orchestrator.TypeCancelled, fmt.Sprintf("cancelled: %v", context.Cause(ctx)))
		err = execute.NotRun(s.run.ID, state, execute.ExitCancelled).Settle(whole, "", s.runs, nil)
	} else {
		err = endUnlaunched(whole, s.runs, s.run.ID, "the flow run could not be submitted", bare(cause))
	}
	if errors.Is(err, orchestrator.ErrNotFound) {
		return fmt.Errorf("submit: flow run %q was deleted while it was submitted: %w", s.run.ID, cause)
	}
	return errors.Join(cause, err)
}

// namesResultStorage reports whether the source of the flow says where results are kept.
func (s *submission) namesResultStorage() bool {
	path, _, _ := strings.Cut(s.Entrypoint, ".py:")
	source, err := os.ReadFile(filepath.Join(s.Dir, filepath.FromSlash(path)+".py"))
	return err == nil && bytes.Contains(source, []byte("result_storage"))
}
