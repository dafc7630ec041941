package prefect

import (
	"context"
	"net/http"
	"slices"

	"github.com/flowship/flowship/submit/orchestrator"
)

// States implements [orchestrator.Reader].
func (c *Client) States(ctx context.Context, id string) ([]orchestrator.State, error) {
	states, err := c.states(ctx, id)
	if err == nil && len(states) == 0 {
		err = orchestrator.ErrNotFound
	}
	if err != nil {
		return nil, about("flow run", id, err)
	}
	return states, nil
}

func (c *Client) states(ctx context.Context, id string) ([]orchestrator.State, error) {
	known, ok := uuidOf(id)
	if !ok {
		return nil, orchestrator.ErrNotFound
	}
	var answer []state
	if err := c.call(ctx, http.MethodGet, "/flow_run_states/?flow_run_id="+known, nil, &answer); err != nil {
		return nil, err
	}
	states := make([]orchestrator.State, 0, len(answer))
	for i := range answer {
		states = append(states, answer[i].public())
	}
	slices.SortStableFunc(states, func(a, b orchestrator.State) int { return a.Timestamp.Compare(b.Timestamp) })
	return states, nil
}

// CurrentStates implements [orchestrator.StateReader].
func (c *Client) CurrentStates(ctx context.Context, ids []string) (map[string]orchestrator.State, error) {
	asked, known := map[string]string{}, []string{} // what was asked for, by what the server knows it as
	for _, id := range ids {
		if k, ok := uuidOf(id); ok && asked[k] == "" {
			asked[k] = id
			known = append(known, k)
		}
	}
	states := make(map[string]orchestrator.State, len(known))
	for some := range slices.Chunk(known, page) {
		runs, err := c.filter(ctx, filter{"flow_runs": filter{"id": filter{"any_": some}}, "limit": page})
		if err != nil {
			return nil, err
		}
		for _, r := range runs {
			if id, ok := asked[r.ID]; ok {
				states[id] = r.current()
			}
		}
	}
	return states, nil
}
