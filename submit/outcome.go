package submit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/result"
)

// EndedError: a flow run has no result because it did not end COMPLETED.
type EndedError struct {
	Name  string // of the flow run
	State orchestrator.State
}

func (e *EndedError) Error() string {
	s := fmt.Sprintf("flow run %q ended %s", e.Name, e.State.Name)
	if e.State.Message != "" {
		s += ": " + e.State.Message
	}
	return s
}

// Result returns what the flow run that ref means, as for [Client.FlowRun], resulted in: JSON,
// null if it completed without a result. It is orchestrator.ErrUnfinished as long as the run
// goes on, and an *[EndedError] if it did not complete. What a flow of Prefect's returned that is
// no plain value is a [*result.NotPlainError]; see [Client.RawResult]. What it returned and did not
// store is null; see [Client.StoredResult].
func (c *Client) Result(ctx context.Context, ref string) (json.RawMessage, error) {
	text, err := c.StoredResult(ctx, ref)
	if errors.Is(err, ErrNotPersisted) {
		return json.RawMessage("null"), nil
	}
	return text, err
}

// StoredResult is [Client.Result], except that it is [ErrNotPersisted] where a flow that Prefect
// ran may have returned something, but has not stored it.
func (c *Client) StoredResult(ctx context.Context, ref string) (json.RawMessage, error) {
	run, err := c.completed(ctx, ref)
	if err != nil {
		return nil, err
	}
	if run.State.Data != nil {
		value, err := c.storedResult(ctx, run)
		if err != nil {
			return nil, fmt.Errorf("submit: result of flow run %q: %w", run.ID, err)
		}
		return value.JSON, nil
	}
	record, err := c.readRecord(ctx, run)
	switch {
	case errors.Is(err, execute.ErrNoRecord) && c.onPrefect(): // Prefect's engine keeps results only where it is told to
		return nil, fmt.Errorf("submit: flow run %q: %w", run.ID, ErrNotPersisted)
	case err != nil:
		return nil, fmt.Errorf("submit: %w", err)
	case record.Result == nil:
		return json.RawMessage("null"), nil
	}
	return record.Result, nil
}

// RawResult is [Client.Result] without decoding: the bytes that Prefect's serializer wrote, a
// pickle or JSON.
func (c *Client) RawResult(ctx context.Context, ref string) ([]byte, error) {
	run, err := c.completed(ctx, ref)
	if err != nil {
		return nil, err
	}
	if run.State.Data == nil {
		return c.StoredResult(ctx, ref)
	}
	value, err := c.storedResult(ctx, run)
	if value == nil {
		return nil, fmt.Errorf("submit: result of flow run %q: %w", run.ID, err)
	}
	return value.Raw, nil
}

// completed finds a run that has a result.
func (c *Client) completed(ctx context.Context, ref string) (*orchestrator.FlowRun, error) {
	run, err := c.findFlowRun(ctx, ref)
	if err != nil {
		return nil, err
	}
	switch t := run.State.Type; {
	case !t.Final():
		return nil, fmt.Errorf("submit: %q: %w: it is %s", run.ID, orchestrator.ErrUnfinished, run.State.Name)
	case t != orchestrator.TypeCompleted:
		return nil, &EndedError{Name: run.Name, State: run.State}
	}
	return run, nil
}

// storedResult fetches what the state of a run of a Prefect server says about its result. The value
// is nil where it could not be fetched; beside another error it has the bytes.
func (c *Client) storedResult(ctx context.Context, run *orchestrator.FlowRun) (*result.Value, error) {
	api, err := c.api(ctx)
	if err != nil {
		return nil, err
	}
	return fetchResult(ctx, api, run.State.Data, c.storage)
}

// addOutcome adds the result and the exit code to a run that is looked at, as far as they can be
// had.
func (c *Client) addOutcome(ctx context.Context, run *Run, stored *orchestrator.FlowRun) error {
	record, err := c.readRecord(ctx, stored)
	var denied error
	switch {
	case errors.Is(err, execute.ErrNoRecord):
	case (errors.Is(err, storage.ErrUnauthorized) || errors.Is(err, storage.ErrUnavailable) || errors.Is(err, ErrNoBlock)) && ctx.Err() == nil:
		// Who may look at runs need not be let into their store.
		denied = ours(err)
	case err != nil:
		return err
	default:
		run.Result, run.ExitCode = record.Result, record.ExitCode
		return nil
	}
	if stored.State.Type != orchestrator.TypeCompleted || stored.State.Data == nil {
		if denied != nil {
			run.Warnings = append(run.Warnings, denied)
		}
		return nil
	}
	value, err := c.storedResult(ctx, stored)
	if err != nil {
		run.Warnings = append(run.Warnings, fmt.Errorf("submit: result of flow run %q: %w", stored.ID, err))
		return nil
	}
	run.Result = value.JSON
	return nil
}
