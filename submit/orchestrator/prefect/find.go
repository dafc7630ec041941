package prefect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/flowship/flowship/submit/orchestrator"
)

// sought is among how many of the latest runs one is sought by the beginning of its id: the server
// cannot do that.
const sought = 10 * page

// FindFlowRun implements [orchestrator.Finder]. By the beginning of their ids it finds the latest
// two thousand.
func (c *Client) FindFlowRun(ctx context.Context, ref string) (*orchestrator.FlowRun, error) {
	run, err := c.findFlowRun(ctx, ref)
	if err != nil {
		return nil, about("flow run", ref, err)
	}
	return c.publicOne(ctx, run)
}

func (c *Client) findFlowRun(ctx context.Context, ref string) (*flowRun, error) {
	if ref == "" { // every id begins with it, and nobody means that
		return nil, orchestrator.ErrNotFound
	}
	run, err := c.read(ctx, ref)
	if err == nil || !errors.Is(err, orchestrator.ErrNotFound) {
		return run, err
	}
	latest := filter{"flow_runs": filter{"name": filter{"any_": []string{ref}}}, "sort": "EXPECTED_START_TIME_DESC", "limit": some}
	runs, err := c.filter(ctx, latest)
	if err != nil || len(runs) > 0 {
		return one(runs, err)
	}
	id := strings.ToLower(ref)
	if strings.Trim(id, "0123456789abcdef-") != "" {
		return nil, orchestrator.ErrNotFound
	}
	seen := 0
	err = c.pages(ctx, filter{"sort": "EXPECTED_START_TIME_DESC"}, func(page []*flowRun) bool {
		for _, r := range page {
			if strings.HasPrefix(r.ID, id) {
				runs = append(runs, r)
			}
		}
		seen += len(page)
		return seen < sought && len(runs) < some
	})
	return one(runs, err)
}

// some are enough to say that it is not one.
const some = 4

func one(runs []*flowRun, err error) (*flowRun, error) {
	switch {
	case err != nil:
		return nil, err
	case len(runs) == 0:
		return nil, orchestrator.ErrNotFound
	case len(runs) == 1:
		return runs[0], nil
	}
	var ids []string
	for _, r := range runs {
		ids = append(ids, r.ID)
	}
	return nil, fmt.Errorf("%w: %s", orchestrator.ErrAmbiguous, strings.Join(ids, ", "))
}

// DeleteFlowRun implements [orchestrator.Deleter].
func (c *Client) DeleteFlowRun(ctx context.Context, id string) error {
	run, err := c.read(ctx, id)
	if err == nil {
		if s := run.current(); s.UnderWay() {
			err = fmt.Errorf("delete: %w: it is %s", orchestrator.ErrUnfinished, s.Name)
		}
	}
	if err == nil {
		err = c.callFlowRun(ctx, http.MethodDelete, id, "", nil, nil)
		if isNotFound(err) { // an earlier try, or somebody else, has done it
			return nil
		}
	}
	if err != nil {
		return about("flow run", id, err)
	}
	return nil
}

// flowNames are the names of flows by their ids, which do not change.
type flowNames struct {
	mu    sync.Mutex
	names map[string]string
}

func (f *flowNames) add(id, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names == nil {
		f.names = map[string]string{}
	}
	f.names[id] = name
}

// known returns the names of those that are known, and the ids of the others.
func (f *flowNames) known(ids []string) (names map[string]string, others []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	names = map[string]string{}
	for _, id := range ids {
		if name, ok := f.names[id]; ok {
			names[id] = name
		} else if _, ok := uuidOf(id); ok && !slices.Contains(others, id) {
			others = append(others, id)
		}
	}
	return names, others
}

// flowNames returns the names of the flows with these ids.
func (c *Client) flowNames(ctx context.Context, ids []string) (map[string]string, error) {
	names, others := c.flows.known(ids)
	for some := range slices.Chunk(others, page) {
		var flows []struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		}
		body := filter{"flows": filter{"id": filter{"any_": some}}, "limit": page}
		if err := c.call(ctx, http.MethodPost, "/flows/filter", body, &flows); err != nil {
			return nil, err
		}
		for _, f := range flows {
			c.flows.add(f.ID, f.Name)
			names[f.ID] = f.Name
		}
	}
	return names, nil
}
