package prefect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/flowship/flowship/submit/orchestrator"
)

// FlowRun implements [orchestrator.Reader].
func (c *Client) FlowRun(ctx context.Context, id string) (*orchestrator.FlowRun, error) {
	run, err := c.read(ctx, id)
	if err != nil {
		return nil, about("flow run", id, err)
	}
	return c.publicOne(ctx, run)
}

// read returns the run as the server writes it.
func (c *Client) read(ctx context.Context, id string) (*flowRun, error) {
	var run flowRun
	if err := c.callFlowRun(ctx, http.MethodGet, id, "", nil, &run); err != nil {
		return nil, err
	}
	return &run, nil
}

// callFlowRun is a call about the run with this id, or about what is below it.
func (c *Client) callFlowRun(ctx context.Context, method, id, rest string, body, answer any) error {
	id, ok := uuidOf(id)
	if !ok {
		return orchestrator.ErrNotFound
	}
	return c.call(ctx, method, "/flow_runs/"+id+rest, body, answer)
}

// about says what an error is about. Of what is not there, nothing else needs to be said.
func about(kind, name string, err error) error {
	if errors.Is(err, orchestrator.ErrNotFound) {
		err = orchestrator.ErrNotFound
	}
	return fmt.Errorf("prefect: %s %q: %w", kind, name, unprefixed(err))
}

// filter is one of the server's, or an operator in one.
type filter map[string]any

// filter returns the flow runs that one request gives.
func (c *Client) filter(ctx context.Context, body filter) ([]*flowRun, error) {
	var runs []*flowRun
	if err := c.call(ctx, http.MethodPost, "/flow_runs/filter", body, &runs); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(runs, func(r *flowRun) bool { return r == nil }), nil
}

// pages calls take with one page after the other, until that says no.
func (c *Client) pages(ctx context.Context, body filter, take func([]*flowRun) bool) error {
	for offset := 0; ; offset += page {
		body["limit"], body["offset"] = page, offset
		runs, err := c.filter(ctx, body)
		if err != nil {
			return err
		}
		if !take(runs) || len(runs) < page {
			return nil
		}
	}
}

// FlowRuns implements [orchestrator.Reader]. The server does not order by the moment of creation,
// but by that of the expected start: with a limit, runs that were created long before they are due
// may stand in for later ones when there are hundreds of them.
func (c *Client) FlowRuns(ctx context.Context, f orchestrator.Filter) ([]*orchestrator.FlowRun, error) {
	body := filter{"sort": "EXPECTED_START_TIME_DESC"}
	if len(f.States) > 0 {
		body["flow_runs"] = filter{"state": filter{"type": filter{"any_": f.States}}}
	}
	if f.WorkPool != "" {
		body["work_pools"] = filter{"name": filter{"any_": []string{f.WorkPool}}}
	}
	var found []*flowRun
	now, past, seen := c.now(), 0, map[string]bool{} // pages shift when runs are created
	err := c.pages(ctx, body, func(runs []*flowRun) bool {
		for _, r := range runs {
			if seen[r.ID] {
				continue
			}
			seen[r.ID] = true
			found = append(found, r)
			if !r.Expected.After(now) {
				past++
			}
		}
		return f.Limit <= 0 || past < f.Limit
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b *flowRun) int { return b.Created.Compare(a.Created.Time) })
	if f.Limit > 0 && len(found) > f.Limit {
		found = found[:f.Limit]
	}
	return c.public(ctx, found)
}

// public returns the runs as callers know them.
func (c *Client) public(ctx context.Context, runs []*flowRun) ([]*orchestrator.FlowRun, error) {
	var ids []string
	for _, r := range runs {
		ids = append(ids, r.FlowID)
	}
	names, err := c.flowNames(ctx, ids)
	if err != nil {
		return nil, err
	}
	list := make([]*orchestrator.FlowRun, 0, len(runs))
	for _, r := range runs {
		list = append(list, r.public(names[r.FlowID]))
	}
	return list, nil
}

func (c *Client) publicOne(ctx context.Context, run *flowRun) (*orchestrator.FlowRun, error) {
	runs, err := c.public(ctx, []*flowRun{run})
	if err != nil {
		return nil, err
	}
	return runs[0], nil
}

// SetInfrastructure implements [orchestrator.Launched].
func (c *Client) SetInfrastructure(ctx context.Context, id, infrastructure string) error {
	if err := c.patch(ctx, id, map[string]any{"infrastructure_pid": infrastructure}); err != nil {
		return about("flow run", id, err)
	}
	return nil
}

func (c *Client) patch(ctx context.Context, id string, change map[string]any) error {
	return c.callFlowRun(ctx, http.MethodPatch, id, "", change, nil)
}

// SetBundle implements [orchestrator.Assigner].
func (c *Client) SetBundle(ctx context.Context, id string, b orchestrator.Bundle, submission json.RawMessage) error {
	l := labels{}
	l.addBundle(b, submission)
	return c.Label(ctx, id, l)
}

// Label implements [orchestrator.Labeler].
func (c *Client) Label(ctx context.Context, id string, labels map[string]string) error {
	if err := c.label(ctx, id, labels); err != nil {
		return about("flow run", id, err)
	}
	return nil
}

// label adds labels. The server reads all and writes all, so that of two who do that at once one
// may lose what it added: it is added until it is seen.
func (c *Client) label(ctx context.Context, id string, added map[string]string) error {
	unlock, err := c.labelling.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	const tries = 5
	for range tries {
		if err := c.callFlowRun(ctx, http.MethodPatch, id, "/labels", added, nil); err != nil {
			return err
		}
		run, err := c.read(ctx, id)
		if err != nil {
			return err
		}
		if run.Labels.have(added) {
			return nil
		}
	}
	return fmt.Errorf("%w: labels that were added are not there", ErrUnavailable)
}

// Deployment implements [orchestrator.Deployments].
func (c *Client) Deployment(ctx context.Context, id string) (*orchestrator.Deployment, error) {
	var d struct {
		ID           string          `json:"id"`
		Name         string          `json:"name"`
		JobVariables json.RawMessage `json:"job_variables"`
		Updated      moment          `json:"updated"`
	}
	known, ok := uuidOf(id)
	err := orchestrator.ErrNotFound
	if ok {
		err = c.call(ctx, http.MethodGet, "/deployments/"+known, nil, &d)
	}
	if err != nil {
		return nil, about("deployment", id, err)
	}
	return &orchestrator.Deployment{ID: d.ID, Name: d.Name, JobVariables: object(d.JobVariables), Updated: d.Updated.Time}, nil
}
