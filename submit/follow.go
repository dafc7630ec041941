package submit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// State returns the state of the flow run with this id. It never waits for the run.
func (c *Client) State(ctx context.Context, id string) (orchestrator.State, error) {
	run, err := c.flowRun(ctx, id)
	if err != nil {
		return orchestrator.State{}, err
	}
	return run.State, nil
}

// Wait returns the final state of the flow run with this id. When ctx ends before, the error is
// its cause, and the run goes on.
func (c *Client) Wait(ctx context.Context, id string) (orchestrator.State, error) {
	runs, err := c.openRuns(ctx)
	if err != nil {
		return orchestrator.State{}, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(c.closed, func() { stop(errClosed) })()
	defer c.attend(runs, id)()
	state, err := c.watcher(runs).Wait(ctx, id, func(s orchestrator.State) bool { return s.Type.Final() })
	if err != nil {
		return orchestrator.State{}, fmt.Errorf("submit: %w", err)
	}
	return state, nil
}

// Cancel asks for the end of the flow run that ref means, as for [Client.FlowRun], and returns
// what holds then: CANCELLING until whoever looks after it has stopped it, or CANCELLED at once
// when nobody had launched it. One that nobody looks after any more is stopped here. A run that has
// ended is an *[EndedError].
func (c *Client) Cancel(ctx context.Context, ref string) (orchestrator.State, error) {
	run, err := c.findFlowRun(ctx, ref)
	if err != nil {
		return orchestrator.State{}, err
	}
	runs, err := c.openRuns(ctx)
	if err != nil {
		return orchestrator.State{}, err
	}
	out, err := runs.SetState(ctx, run.ID, orchestrator.NewState(orchestrator.TypeCancelling, "cancelled on request"), nil)
	if err != nil {
		return orchestrator.State{}, fmt.Errorf("submit: %w", err)
	}
	switch {
	case out.Status == orchestrator.Aborted && out.State.Type.Final():
		return out.State, fmt.Errorf("submit: %w", &EndedError{Name: run.Name, State: out.State})
	case out.State.Type == orchestrator.TypeCancelling:
		return c.stopAbandoned(ctx, runs, run.ID, out.State), nil
	case out.State.Type.Final():
		return out.State, nil
	}
	return out.State, fmt.Errorf("submit: flow run %q cannot be cancelled: %s", run.Name, out.Reason)
}

// LogsOptions are the options of [Client.Logs]; nil is the default.
type LogsOptions struct {
	// Follow goes on until the run has ended.
	Follow bool
	// MinLevel leaves out what is below: 10 debug, 20 info, 30 warning, 40 error.
	MinLevel int
}

// How many lines are fetched at a time, and how often is looked for new ones.
const (
	logsPage     = 1000
	logsInterval = 100 * time.Millisecond
)

// Logs returns the log of the flow run that ref means, as for [Client.FlowRun], the oldest line
// first. After an error there is nothing more.
func (c *Client) Logs(ctx context.Context, ref string, opts *LogsOptions) iter.Seq2[orchestrator.Log, error] {
	if opts == nil {
		opts = &LogsOptions{}
	}
	return func(yield func(orchestrator.Log, error) bool) {
		err := c.eachLog(ctx, ref, opts, func(l orchestrator.Log) bool { return yield(l, nil) })
		if err != nil {
			yield(orchestrator.Log{}, err)
		}
	}
}

// eachLog calls do until it returns false.
func (c *Client) eachLog(ctx context.Context, ref string, opts *LogsOptions, do func(orchestrator.Log) bool) error {
	run, err := c.findFlowRun(ctx, ref)
	if err != nil {
		return err
	}
	runs, err := c.openRuns(ctx)
	if err != nil {
		return err
	}
	if opts.Follow && run.State.UnderWay() {
		defer c.attend(runs, run.ID)()
	}
	filter := orchestrator.LogFilter{FlowRunID: run.ID, MinLevel: opts.MinLevel, Limit: logsPage}
	for {
		// Asked before the logs are read: what is written before the end is read after it.
		state := run.State
		if opts.Follow {
			states, err := runs.CurrentStates(ctx, []string{run.ID})
			if err != nil {
				return fmt.Errorf("submit: %w", err)
			}
			state = states[run.ID] // deleted meanwhile: no state, and no more logs
		}
		for {
			logs, err := runs.Logs(ctx, filter)
			if err != nil {
				return fmt.Errorf("submit: %w", err)
			}
			for _, l := range logs {
				if !do(l) {
					return nil
				}
				filter.After = l.Number
			}
			if len(logs) < logsPage {
				break
			}
		}
		if !opts.Follow || state.Type.Final() || state.Type == "" {
			return nil
		}
		wait, cancel := context.WithTimeout(ctx, logsInterval)
		_, err := c.watcher(runs).Wait(wait, run.ID, func(s orchestrator.State) bool { return s.Type.Final() })
		cancel()
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, orchestrator.ErrNotFound) {
			return fmt.Errorf("submit: %w", err)
		}
	}
}
