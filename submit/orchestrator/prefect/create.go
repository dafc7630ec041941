package prefect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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
		body.Policy["retry_type"] = retryInProcess
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
	if parent, ok := uuidOf(n.Parent); ok {
		if body.Parent, err = c.taskRunOf(ctx, parent, n.Flow); err != nil {
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

// taskRunOf makes the task run that stands for a run of the flow in the run that submits it, or ""
// for a parent that this server does not know: it is another server's, or deleted by now.
func (c *Client) taskRunOf(ctx context.Context, parent, flow string) (string, error) {
	var task struct {
		ID string `json:"id"`
	}
	// The key is another one each time, and the same for each try.
	body := map[string]any{
		"flow_run_id": parent, "name": flow, "task_key": flow, "dynamic_key": uuid.NewString(),
		"state": newState{Type: orchestrator.TypePending, Name: "Pending"},
	}
	if _, ok := uuidOf(parent); !ok {
		return "", nil
	}
	err := c.call(ctx, http.MethodPost, "/task_runs/", body, &task)
	if _, refused := errors.AsType[*StatusError](err); refused {
		if _, readErr := c.read(ctx, parent); isNotFound(readErr) {
			return "", nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("link it to flow run %q: %w", parent, unprefixed(err))
	}
	return task.ID, nil
}
