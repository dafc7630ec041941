package prefect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

// EnsureFlow implements [orchestrator.Creator].
func (c *Client) EnsureFlow(ctx context.Context, name string) (string, error) {
	var flow struct {
		ID string `json:"id"`
	}
	if err := c.call(ctx, http.MethodPost, "/flows/", map[string]any{"name": name}, &flow); err != nil {
		return "", about("flow", name, err)
	}
	c.flows.add(flow.ID, name)
	return flow.ID, nil
}

// newState is a state as the server reads it.
type newState struct {
	Type    orchestrator.StateType `json:"type"`
	Name    string                 `json:"name,omitempty"`
	Message string                 `json:"message,omitempty"`
	Data    json.RawMessage        `json:"data,omitempty"`
	Details newDetails             `json:"state_details"`
}

type newDetails struct {
	Transition string     `json:"transition_id,omitempty"`
	Scheduled  *time.Time `json:"scheduled_time,omitempty"`
}

func proposal(s orchestrator.State) newState {
	n := newState{Type: s.Type, Name: s.Name, Message: s.Message, Data: s.Data, Details: newDetails{Transition: s.ID}}
	if s.Type == orchestrator.TypeScheduled && !s.Scheduled.IsZero() {
		due := s.Scheduled.UTC()
		n.Details.Scheduled = &due
	}
	return n
}

// newFlowRun is a flow run as the server reads it.
type newFlowRun struct {
	FlowID         string          `json:"flow_id"`
	Name           string          `json:"name"`
	State          newState        `json:"state"`
	Parameters     json.RawMessage `json:"parameters"`
	JobVariables   json.RawMessage `json:"job_variables"`
	Tags           []string        `json:"tags"`
	Labels         labels          `json:"labels"`
	Version        string          `json:"flow_version,omitempty"`
	Policy         map[string]any  `json:"empirical_policy"`
	WorkPool       string          `json:"work_pool_name,omitempty"`
	Parent         string          `json:"parent_task_run_id,omitempty"`
	IdempotencyKey string          `json:"idempotency_key"`
}

// CreateFlowRun implements [orchestrator.Creator]. The server gives the id, see
// [orchestrator.Assigner], and keeps no data of the first state.
func (c *Client) CreateFlowRun(ctx context.Context, n orchestrator.NewFlowRun) (*orchestrator.FlowRun, error) {
	run, err := c.createFlowRun(ctx, n)
	if err != nil {
		return nil, fmt.Errorf("prefect: create a run of flow %q: %w", n.Flow, unprefixed(err))
	}
	if n.Lease != nil {
		c.leases.add(run.ID, *n.Lease)
	}
	return run.public(n.Flow), nil
}

func (c *Client) createFlowRun(ctx context.Context, n orchestrator.NewFlowRun) (*flowRun, error) {
	if n.ID != "" {
		return nil, fmt.Errorf("the server gives a flow run its id: %q cannot be it", n.ID)
	}
	flowID, err := c.EnsureFlow(ctx, n.Flow)
	if err != nil {
		return nil, err
	}
	body := newFlowRun{
		FlowID: flowID, Name: n.Name, State: proposal(n.State), Parameters: n.Parameters, JobVariables: n.JobVariables,
		Tags: n.Tags, Labels: labels{}, Version: n.Version, WorkPool: n.WorkPool, IdempotencyKey: uuid.NewString(),
		Policy: map[string]any{"retries": n.Policy.Retries, "retry_delay": int((n.Policy.RetryDelay + time.Second - 1) / time.Second)},
	}
	body.State.Data = nil // a server fails on it
	if body.Name == "" {
		body.Name = orchestrator.RandomName()
	}
	if n.State.AwaitsRetry() { // of which the server learns in no other way
		body.Policy["retry_type"] = "in_process"
	}
	if body.Parameters == nil {
		body.Parameters = json.RawMessage("{}")
	}
	if body.JobVariables == nil {
		body.JobVariables = json.RawMessage("{}")
	}
	if body.Tags == nil {
		body.Tags = []string{}
	}
	for name, value := range n.Labels {
		body.Labels[name] = value
	}
	body.Labels.addBundle(n.Bundle, n.Submission)
	for name, value := range map[string]string{labelResults: n.Results, labelPool: n.WorkPool} {
		if value != "" {
			body.Labels[name] = value
		}
	}
	if n.Priority != 0 {
		body.Labels[labelPriority] = strconv.Itoa(n.Priority)
	}
	if n.Lease != nil {
		body.Labels[leaseLabel(*n.Lease)] = c.expiry(*n.Lease)
	}
	if n.Parent != "" {
		if body.Parent, err = c.taskRunOf(ctx, n.Parent, n.Flow); err != nil {
			return nil, err
		}
	}
	var run flowRun
	err = c.call(ctx, http.MethodPost, "/flow_runs/", body, &run)
	if refused, ok := errors.AsType[*StatusError](err); ok {
		switch {
		case refused.Status == http.StatusNotFound && n.WorkPool != "":
			return nil, fmt.Errorf("%w: %q", orchestrator.ErrNoWorkPool, n.WorkPool)
		case refused.Status == http.StatusConflict: // an earlier try made it
			return c.flowRunOf(ctx, body.IdempotencyKey, err)
		}
	}
	if err != nil {
		return nil, err
	}
	return &run, nil
}

// flowRunOf returns the run that was created with this key, or the error if there is none.
func (c *Client) flowRunOf(ctx context.Context, key string, conflict error) (*flowRun, error) {
	runs, err := c.filter(ctx, filter{"flow_runs": filter{"idempotency_key": filter{"any_": []string{key}}}, "limit": 1})
	if err != nil {
		return nil, err
	}
	if len(runs) == 0 {
		return nil, conflict
	}
	return runs[0], nil
}

// taskRunOf makes the task run that stands for a run of the flow in the run that submits it.
func (c *Client) taskRunOf(ctx context.Context, parent, flow string) (string, error) {
	var task struct {
		ID string `json:"id"`
	}
	// The key is another one each time, and the same for each try.
	body := map[string]any{
		"flow_run_id": parent, "name": flow, "task_key": flow, "dynamic_key": uuid.NewString(),
		"state": newState{Type: orchestrator.TypePending, Name: "Pending"},
	}
	if err := c.call(ctx, http.MethodPost, "/task_runs/", body, &task); err != nil {
		return "", fmt.Errorf("link it to flow run %q: %w", parent, unprefixed(err))
	}
	return task.ID, nil
}

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
