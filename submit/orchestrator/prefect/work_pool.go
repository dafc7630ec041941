package prefect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// page is how many objects a server gives at most in one answer.
const page = 200

// workPool is one as the server writes it.
type workPool struct {
	ID               string                      `json:"id"`
	Name             string                      `json:"name"`
	Type             string                      `json:"type"`
	Description      string                      `json:"description"`
	Paused           bool                        `json:"is_paused"`
	ConcurrencyLimit *int                        `json:"concurrency_limit"`
	ActiveSlots      int                         `json:"active_slots"` // only with a limit
	BaseJobTemplate  json.RawMessage             `json:"base_job_template"`
	Storage          json.RawMessage             `json:"storage_configuration"`
	Status           orchestrator.WorkPoolStatus `json:"status"`
	Created          time.Time                   `json:"created"`
	Updated          time.Time                   `json:"updated"`
}

// public is the pool as callers know it.
func (p *workPool) public(defaultPool string) *orchestrator.WorkPool {
	status := p.Status
	switch {
	case p.Paused:
		status = orchestrator.WorkPoolPaused
	case status == "": // that of agents has none
		status = orchestrator.WorkPoolNotReady
	}
	return &orchestrator.WorkPool{
		ID: p.ID, Name: p.Name, Type: p.Type, Description: p.Description, Paused: p.Paused,
		ConcurrencyLimit: p.ConcurrencyLimit, ActiveSlots: p.ActiveSlots, BaseJobTemplate: p.BaseJobTemplate, Storage: storage(p.Storage),
		Default: p.Name == defaultPool, Status: status, Created: p.Created.UTC(), Updated: p.Updated.UTC(),
	}
}

// storage is nil where bundles have no place: a server has an object for that as well.
func storage(text json.RawMessage) json.RawMessage {
	var steps struct {
		Upload  map[string]json.RawMessage `json:"bundle_upload_step"`
		Execute map[string]json.RawMessage `json:"bundle_execution_step"`
	}
	if json.Unmarshal(text, &steps) != nil || len(steps.Upload) == 0 && len(steps.Execute) == 0 {
		return nil
	}
	return text
}

// WorkPool implements [orchestrator.WorkPoolReader].
func (c *Client) WorkPool(ctx context.Context, name string) (*orchestrator.WorkPool, error) {
	var pool workPool
	if err := c.callWorkPool(ctx, http.MethodGet, name, "", nil, &pool); err != nil {
		return nil, err
	}
	if pool.ConcurrencyLimit != nil {
		n, err := c.activeSlots(ctx, name)
		if err != nil {
			return nil, err
		}
		pool.ActiveSlots = n
	}
	return pool.public(c.defaultWorkPool()), nil
}

// WorkPools implements [orchestrator.WorkPoolReader].
func (c *Client) WorkPools(ctx context.Context) ([]*orchestrator.WorkPool, error) {
	pools, defaultPool := []*orchestrator.WorkPool{}, c.defaultWorkPool()
	for {
		var some []workPool
		body := map[string]any{"limit": page, "offset": len(pools)}
		if err := c.call(ctx, http.MethodPost, "/work_pools/filter", body, &some); err != nil {
			return nil, err
		}
		for _, p := range some {
			pools = append(pools, p.public(defaultPool))
		}
		if len(some) < page {
			return pools, nil
		}
	}
}

// DefaultWorkPool implements [orchestrator.WorkPoolReader]. The default is one of this computer's,
// not of the server's: the settings name it.
func (c *Client) DefaultWorkPool(ctx context.Context) (*orchestrator.WorkPool, error) {
	name := c.defaultWorkPool()
	if name == "" {
		return nil, fmt.Errorf("prefect: %w: none is the default", orchestrator.ErrNoWorkPool)
	}
	return c.WorkPool(ctx, name)
}

// SetDefaultWorkPool implements [orchestrator.WorkPoolWriter]: it writes the setting into the
// active profile, where Prefect finds it as well.
func (c *Client) SetDefaultWorkPool(ctx context.Context, name string) error {
	if _, err := c.WorkPool(ctx, name); err != nil {
		return err
	}
	if err := c.chooseDefaultWorkPool(name); err != nil {
		return fmt.Errorf("prefect: make work pool %q the default: %w", name, err)
	}
	return nil
}

// CreateWorkPool implements [orchestrator.WorkPoolWriter].
func (c *Client) CreateWorkPool(ctx context.Context, n orchestrator.NewWorkPool) (*orchestrator.WorkPool, error) {
	var pool workPool
	err := checkPoolName(n.Name)
	if err == nil {
		var body map[string]any
		if body, err = newPool(n); err == nil {
			err = c.call(ctx, http.MethodPost, "/work_pools/", body, &pool)
		}
	}
	if refused, ok := errors.AsType[*StatusError](err); ok && refused.Status == http.StatusConflict {
		err = orchestrator.ErrExists
	}
	if err != nil {
		return nil, fmt.Errorf("prefect: create work pool %q: %w", n.Name, unprefixed(err))
	}
	return pool.public(c.defaultWorkPool()), nil
}

func newPool(n orchestrator.NewWorkPool) (map[string]any, error) {
	template := n.BaseJobTemplate
	if len(template) == 0 {
		template = json.RawMessage("{}")
	}
	if n.ConcurrencyLimit != nil && *n.ConcurrencyLimit < 0 {
		return nil, fmt.Errorf("a concurrency limit of %d", *n.ConcurrencyLimit)
	}
	body, err := poolChange(orchestrator.WorkPoolChange{
		Description: &n.Description, Paused: &n.Paused, ConcurrencyLimit: n.ConcurrencyLimit, BaseJobTemplate: template, Storage: n.Storage,
	})
	if err != nil {
		return nil, err
	}
	body["name"], body["type"] = n.Name, n.Type
	return body, nil
}

// noStorage is what the server has for a pool without storage.
const noStorage = `{"bundle_upload_step": null, "bundle_execution_step": null, "default_result_storage_block_id": null}`

// poolChange is the change as the server reads it: what is named becomes different.
func poolChange(change orchestrator.WorkPoolChange) (map[string]any, error) {
	body := map[string]any{}
	if change.Description != nil {
		body["description"] = *change.Description
	}
	if change.Paused != nil {
		body["is_paused"] = *change.Paused
	}
	if limit := change.ConcurrencyLimit; limit != nil {
		body["concurrency_limit"] = limit
		if *limit < 0 {
			body["concurrency_limit"] = nil
		}
	}
	if len(change.BaseJobTemplate) > 0 {
		if !isObject(change.BaseJobTemplate) {
			return nil, errors.New("the base job template is not a JSON object")
		}
		body["base_job_template"] = change.BaseJobTemplate
	}
	if storage := bytes.TrimSpace(change.Storage); len(storage) > 0 {
		none := string(storage) == "null"
		if !none && !isObject(storage) {
			return nil, errors.New("the storage is not a JSON object")
		}
		if none {
			storage = []byte(noStorage)
		}
		body["storage_configuration"] = json.RawMessage(storage)
	}
	return body, nil
}

func isObject(text []byte) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(text, &object) == nil && object != nil
}

// ChangeWorkPool implements [orchestrator.WorkPoolWriter].
func (c *Client) ChangeWorkPool(ctx context.Context, name string, change orchestrator.WorkPoolChange) error {
	body, err := poolChange(change)
	if err != nil {
		return fmt.Errorf("prefect: change work pool %q: %w", name, err)
	}
	if len(body) == 0 {
		_, err := c.WorkPool(ctx, name)
		return err
	}
	return c.callWorkPool(ctx, http.MethodPatch, name, "", body, nil)
}

// DeleteWorkPool implements [orchestrator.WorkPoolWriter]. Runs of deployments stay SCHEDULED: the
// server moves them with their deployment.
func (c *Client) DeleteWorkPool(ctx context.Context, name string) error {
	if _, err := c.WorkPool(ctx, name); err != nil {
		return err
	}
	if err := c.cancelScheduled(ctx, name); err != nil {
		return fmt.Errorf("prefect: delete work pool %q: cancel what waits there: %w", name, unprefixed(err))
	}
	return c.callWorkPool(ctx, http.MethodDelete, name, "", nil, nil)
}

// cancelScheduled cancels the runs that wait in the work pool for a worker: the server would let
// them wait for ever. It looks again as long as that helped, because more may come meanwhile.
func (c *Client) cancelScheduled(ctx context.Context, workPool string) error {
	for helped := true; helped; {
		var waiting []*flowRun
		err := c.pages(ctx, filter{
			"sort":       "ID_DESC",
			"flow_runs":  filter{"state": filter{"type": filter{"any_": []orchestrator.StateType{orchestrator.TypeScheduled}}}, "deployment_id": filter{"is_null_": true}},
			"work_pools": filter{"name": filter{"any_": []string{workPool}}},
		}, func(runs []*flowRun) bool {
			for _, r := range runs {
				if !r.current().AwaitsRetry() { // else its executor goes on
					waiting = append(waiting, r)
				}
			}
			return true
		})
		if err != nil {
			return err
		}
		helped = false
		for _, r := range waiting {
			cancelled := orchestrator.NewState(orchestrator.TypeCancelled, "its work pool was deleted")
			out, err := c.setState(ctx, r.ID, cancelled, &orchestrator.SetStateOptions{Follows: r.current().ID}, nil)
			if err != nil && !errors.Is(err, orchestrator.ErrNotFound) {
				return err
			}
			helped = helped || err == nil && out.Status == orchestrator.Accepted
		}
	}
	return nil
}

// checkPoolName refuses what the server would.
func checkPoolName(name string) error {
	switch {
	case strings.Trim(name, "' \"\t\r\n") == "", strings.ContainsAny(name, "/%&><\x00"), isDots(name):
		return fmt.Errorf("%w: it is empty or has one of / %% & > <", orchestrator.ErrName)
	case strings.HasPrefix(strings.ToLower(name), "prefect"):
		return fmt.Errorf("%w: those that begin with prefect are reserved", orchestrator.ErrName)
	}
	return nil
}

// isDots reports whether the name would be a step in a path instead of one of its elements.
func isDots(name string) bool { return name == "." || name == ".." }

// callWorkPool is a call about the work pool, or about what is below it at rest.
func (c *Client) callWorkPool(ctx context.Context, method, name, rest string, body, answer any) error {
	err := orchestrator.ErrNoWorkPool
	if name != "" && !isDots(name) && !strings.Contains(name, "/") {
		err = c.call(ctx, method, "/work_pools/"+url.PathEscape(name)+rest, body, answer)
		if errors.Is(err, orchestrator.ErrNotFound) {
			err = orchestrator.ErrNoWorkPool
		}
	}
	if err != nil {
		return fmt.Errorf("prefect: work pool %q: %w", name, unprefixed(err))
	}
	return nil
}

// unprefixed is the error of a call without the name of this package, which the caller adds.
func unprefixed(err error) error {
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(err.Error(), "prefect: ") && err.Error() == "prefect: "+inner.Error() {
		return inner
	}
	return err
}
