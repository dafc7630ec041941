package submit

import (
	"context"
	"errors"
	"fmt"

	"github.com/flowship/flowship/submit/orchestrator"
)

// Retry has the flow run that ref means run again, with the same bundle: one that waited in a work
// pool waits there again, another one is launched from here as by [Client.Submit]. A run that
// goes on, or that somebody else has run again, is orchestrator.ErrUnfinished; one that Prefect ran
// where it was called, in no work pool and for no deployment, is [ErrNoBundle].
func (c *Client) Retry(ctx context.Context, ref string) (*Run, error) {
	stored, err := c.findFlowRun(ctx, ref)
	if err != nil {
		return nil, err
	}
	if !stored.State.Type.Final() {
		return nil, fmt.Errorf("submit: %q: %w: it is %s", stored.ID, orchestrator.ErrUnfinished, stored.State.Name)
	}
	run, note, err := runOf(stored)
	if err != nil {
		return nil, fmt.Errorf("submit: flow run %q: %w", stored.ID, err)
	}
	runs, err := c.openRuns(ctx)
	if err != nil {
		return nil, err
	}
	// One of Prefect's own is executed by who serves its work pool or its deployment.
	queued := note.Mode == modeQueue || stored.Bundle.Key == ""
	switch {
	case !queued:
		err = c.needExecutor(ctx)
	case stored.WorkPool != "":
		_, err = runs.WorkPool(ctx, stored.WorkPool)
	case stored.DeploymentID == "":
		err = fmt.Errorf("flow run %q: %w", stored.ID, ErrNoBundle)
	}
	if err != nil {
		return nil, ours(err)
	}
	lease, err := c.claimAgain(ctx, runs, stored)
	if err != nil {
		return nil, err
	}
	if queued {
		run.State, err = queueAgain(context.WithoutCancel(ctx), runs, stored.ID, lease)
		return run, err
	}
	if err := c.detach(ctx, runs, stored.ID, lease); err != nil {
		return nil, err
	}
	if now, err := runs.FlowRun(ctx, stored.ID); err == nil {
		run.State = now.State
	}
	return run, nil
}

const (
	toBeRunAgain = "to be run again"
	notRunAgain  = "the run could not be run again"
)

// claimAgain takes a run that has ended, and removes what it left: that must not pass for what the
// next attempt leaves. Of several who want the run, one gets it, and only who has it may remove
// anything.
func (c *Client) claimAgain(ctx context.Context, runs backend, stored *orchestrator.FlowRun) (orchestrator.Lease, error) {
	lease := orchestrator.NewLease("submitter", c.length)
	// From here on the run must not be left to nobody.
	ctx = context.WithoutCancel(ctx)
	out, err := runs.SetState(ctx, stored.ID, orchestrator.NewState(orchestrator.TypePending, toBeRunAgain),
		&orchestrator.SetStateOptions{Force: true, Follows: stored.State.ID, Lease: &lease})
	if err != nil {
		return lease, fmt.Errorf("submit: %w", err)
	}
	if out.Status != orchestrator.Accepted {
		return lease, fmt.Errorf("submit: %q: %w: somebody else has it run again", stored.ID, orchestrator.ErrUnfinished)
	}
	if err := c.deleteRecord(ctx, stored); err != nil {
		return lease, fmt.Errorf("submit: %w", errors.Join(err, endUnlaunched(ctx, runs, stored.ID, notRunAgain, err)))
	}
	return lease, nil
}

// queueAgain offers a run to the workers that was claimed.
func queueAgain(ctx context.Context, runs backend, id string, lease orchestrator.Lease) (orchestrator.State, error) {
	out, err := runs.SetState(ctx, id, orchestrator.NewState(orchestrator.TypeScheduled, toBeRunAgain), nil)
	if err != nil {
		return orchestrator.State{}, fmt.Errorf("submit: %w", errors.Join(err, endUnlaunched(ctx, runs, id, notRunAgain, err)))
	}
	if out.Status != orchestrator.Accepted { // somebody wants it to end: whoever looks next ends it
		err = runs.Release(ctx, lease)
	}
	return out.State, ours(err)
}
