package submit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// ErrNoBundle: the flow run was not submitted by flowship, and no bundle of its is known.
var ErrNoBundle = errors.New("no bundle of it is known")

// FlowRuns returns the chosen flow runs, the latest created first. Like every look at flow runs,
// it first ends those that nobody looks after any more.
func (c *Client) FlowRuns(ctx context.Context, filter orchestrator.Filter) ([]*orchestrator.FlowRun, error) {
	runs, err := c.currentRuns(ctx)
	if err != nil {
		return nil, err
	}
	list, err := runs.FlowRuns(ctx, filter)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return list, nil
}

// FlowRun returns the flow run whose id, name or beginning of an id is ref, with its result if
// there is one. It is orchestrator.ErrNotFound or ErrAmbiguous when not one run is meant.
func (c *Client) FlowRun(ctx context.Context, ref string) (*Run, error) {
	stored, err := c.findFlowRun(ctx, ref)
	if err != nil {
		return nil, err
	}
	run, _, err := runOf(stored)
	if err != nil {
		return nil, fmt.Errorf("submit: flow run %q: %w", stored.ID, err)
	}
	if err := c.addOutcome(ctx, run, stored); err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return run, nil
}

// States returns the states that the flow run with this id had, the first one first.
func (c *Client) States(ctx context.Context, id string) ([]orchestrator.State, error) {
	runs, err := c.openRuns(ctx)
	if err != nil {
		return nil, err
	}
	states, err := runs.States(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return states, nil
}

// DeleteFlowRun forgets the flow run that ref means, as for [Client.FlowRun], its result and its
// document, and returns what it was. Its files stay in the store, for they may be those of other
// runs as well. A run that is under way is orchestrator.ErrUnfinished.
func (c *Client) DeleteFlowRun(ctx context.Context, ref string) (*orchestrator.FlowRun, error) {
	run, err := c.findFlowRun(ctx, ref)
	if err != nil {
		return nil, err
	}
	if run.State.UnderWay() {
		return nil, fmt.Errorf("submit: %q: %w: it is %s", run.ID, orchestrator.ErrUnfinished, run.State.Name)
	}
	runs, err := c.openRuns(ctx)
	if err != nil {
		return nil, err
	}
	// The run goes first: by now, a worker or a retry may have it, and need its document.
	if err := runs.DeleteFlowRun(ctx, run.ID); err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	if err := c.deleteStored(context.WithoutCancel(ctx), run); err != nil {
		return nil, fmt.Errorf("submit: flow run %q is deleted, but not what it left in the store: %w", run.ID, err)
	}
	return run, nil
}

// findFlowRun returns the run that a person means.
func (c *Client) findFlowRun(ctx context.Context, ref string) (*orchestrator.FlowRun, error) {
	runs, err := c.currentRuns(ctx)
	if err != nil {
		return nil, err
	}
	run, err := runs.FindFlowRun(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return run, nil
}

// readRecord returns what the run left, or execute.ErrNoRecord.
func (c *Client) readRecord(ctx context.Context, run *orchestrator.FlowRun) (*execute.Record, error) {
	if resultsURL(run) == "" {
		return nil, execute.ErrNoRecord
	}
	return execute.ReadRecord(ctx, resultsURL(run), run.ID, c.storage)
}

// resultsURL is the URL of the store of the run's record.
func resultsURL(run *orchestrator.FlowRun) string {
	if run.Results != "" {
		return run.Results
	}
	return run.Bundle.URL
}

// deleteStored removes what is stored for this run alone.
func (c *Client) deleteStored(ctx context.Context, run *orchestrator.FlowRun) error {
	if err := c.deleteRecord(ctx, run); err != nil {
		return err
	}
	return c.deleteObject(ctx, run.Bundle.URL, run.Bundle.Key)
}

// deleteRecord removes what the run left.
func (c *Client) deleteRecord(ctx context.Context, run *orchestrator.FlowRun) error {
	return c.deleteObject(ctx, resultsURL(run), execute.RecordKey(run.ID))
}

func (c *Client) deleteObject(ctx context.Context, url, key string) error {
	if url == "" {
		return nil
	}
	store, err := c.openStored(ctx, url)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Delete(ctx, key); !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return nil
}

// runOf is a run as it was recorded.
func runOf(r *orchestrator.FlowRun) (*Run, *submissionNote, error) {
	var note submissionNote
	if len(r.Submission) > 0 { // one of Prefect's own has nothing to be remembered
		if err := json.Unmarshal(r.Submission, &note); err != nil {
			return nil, nil, err
		}
	}
	run := &Run{
		ID: r.ID, Name: r.Name, WorkPool: r.WorkPool, Parameters: r.Parameters, Timings: note.Timings,
		Bundle: StoredBundle{URL: r.Bundle.URL, Key: r.Bundle.Key, UploadedBytes: note.UploadedBytes, ReusedBytes: note.ReusedBytes},
	}
	run.copyRecorded(r)
	if r.Bundle.FilesKey != "" {
		run.Bundle.FilesKey = &r.Bundle.FilesKey
	}
	if !r.Started.IsZero() {
		run.Timings.Launch = Seconds(r.Started.Sub(r.Created))
		if !r.Ended.IsZero() {
			run.Timings.Run = Seconds(r.Ended.Sub(r.Started))
		}
	}
	return run, &note, nil
}

// copyRecorded takes on what the orchestrator knows about the run.
func (run *Run) copyRecorded(r *orchestrator.FlowRun) {
	run.State, run.Flow, run.Tags, run.Version, run.Labels, run.Priority = r.State, r.Flow, r.Tags, r.Version, r.Labels, r.Priority
	run.Policy, run.Retries, run.JobVariables, run.Infrastructure = r.Policy, max(r.RunCount-1, 0), r.JobVariables, r.Infrastructure
	run.Created, run.Started, run.Ended = r.Created, r.Started, r.Ended
}
