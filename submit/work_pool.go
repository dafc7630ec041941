package submit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/processinfra"
	"github.com/flowship/flowship/submit/orchestrator"
)

// embeddedPool is the work pool that is there without being made.
const embeddedPool = "local"

// ErrNoDriver: nothing here launches on infrastructure of that type.
var ErrNoDriver = errors.New("unknown type of infrastructure")

// infrastructure returns where runs of a work pool of this type are executed.
func (c *Client) infrastructure(poolType string) (*launch.Infrastructure, error) {
	if infra := c.others[poolType]; infra != nil {
		return infra, nil
	}
	if poolType != processinfra.Type {
		types := slices.Sorted(maps.Keys(c.others))
		return nil, fmt.Errorf("%w: %q; want %s", ErrNoDriver, poolType, strings.Join(append([]string{strconv.Quote(processinfra.Type)}, quoted(types)...), " or "))
	}
	if err := os.MkdirAll(c.path("run"), 0o700); err != nil {
		return nil, err
	}
	return c.infra, nil
}

func quoted(texts []string) []string {
	for i := range texts {
		texts[i] = strconv.Quote(texts[i])
	}
	return texts
}

// workPool returns the pool of that name, or the default one for "". The embedded one is made when
// it is first needed.
func (c *Client) workPool(ctx context.Context, name string) (*orchestrator.WorkPool, error) {
	runs, err := c.openRuns(ctx)
	if err != nil {
		return nil, err
	}
	if name == "" {
		pool, err := runs.DefaultWorkPool(ctx)
		if err == nil {
			return pool, nil
		}
		if !errors.Is(err, orchestrator.ErrNoWorkPool) {
			return nil, fmt.Errorf("submit: %w", err)
		}
		if c.onPrefect() {
			return nil, fmt.Errorf("submit: no work pool is named, and none is the default: %w", orchestrator.ErrNoWorkPool)
		}
		name = embeddedPool
	}
	pool, err := runs.WorkPool(ctx, name)
	if errors.Is(err, orchestrator.ErrNoWorkPool) && name == embeddedPool && !c.onPrefect() {
		pool, err = c.makeWorkPool(ctx, runs, orchestrator.NewWorkPool{Name: embeddedPool, Type: processinfra.Type})
		if errors.Is(err, orchestrator.ErrExists) { // somebody else was quicker
			pool, err = runs.WorkPool(ctx, name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return pool, nil
}

func (c *Client) makeWorkPool(ctx context.Context, runs backend, pool orchestrator.NewWorkPool) (*orchestrator.WorkPool, error) {
	if pool.BaseJobTemplate == nil {
		template, err := c.BaseJobTemplate(ctx, pool.Type)
		if err != nil {
			return nil, err
		}
		pool.BaseJobTemplate = template
	}
	if _, err := launch.ParseTemplate(pool.BaseJobTemplate); err != nil {
		return nil, &InvalidError{"the base job template is not one: " + err.Error()}
	}
	return runs.CreateWorkPool(ctx, pool)
}

// fillTemplate gives a work pool without a base job template the default one of its type, as Prefect's own
// workers do. The server makes pools without.
func (c *Client) fillTemplate(ctx context.Context, runs backend, pool *orchestrator.WorkPool) error {
	var template map[string]json.RawMessage
	if !c.onPrefect() || json.Unmarshal(pool.BaseJobTemplate, &template) != nil || len(template) > 0 {
		return nil
	}
	of, err := c.BaseJobTemplate(ctx, pool.Type)
	if errors.Is(err, ErrNoDriver) {
		return nil
	}
	if err == nil {
		err = runs.ChangeWorkPool(ctx, pool.Name, orchestrator.WorkPoolChange{BaseJobTemplate: of})
	}
	if err != nil {
		return fmt.Errorf("submit: the base job template of work pool %q: %w", pool.Name, err)
	}
	pool.BaseJobTemplate = of
	return nil
}

// BaseJobTemplate returns the default base job template of a type of work pool, as JSON: on a
// Prefect server that of its own workers. It is ErrNoDriver for an unknown one.
func (c *Client) BaseJobTemplate(ctx context.Context, poolType string) (json.RawMessage, error) {
	if c.onPrefect() {
		api, err := c.api(ctx)
		if err != nil {
			return nil, err
		}
		template, found, err := api.BaseJobTemplate(ctx, poolType)
		if err == nil && !found {
			var known []string
			if known, err = api.WorkerTypes(ctx); err == nil {
				err = fmt.Errorf("%w: %q; the server knows %s", ErrNoDriver, poolType, strings.Join(known, ", "))
			}
		}
		return template, ours(err)
	}
	infra, err := c.infrastructure(poolType)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return json.Marshal(infra.Template())
}

// CreateWorkPool makes a work pool. Without a base job template it gets the default one of its
// type. It is orchestrator.ErrExists when there is one of that name.
func (c *Client) CreateWorkPool(ctx context.Context, pool orchestrator.NewWorkPool) (*orchestrator.WorkPool, error) {
	if _, err := c.infrastructure(pool.Type); err != nil && !c.onPrefect() {
		return nil, fmt.Errorf("submit: %w", err)
	}
	runs, err := c.openRuns(ctx)
	if err != nil {
		return nil, err
	}
	made, err := c.makeWorkPool(ctx, runs, pool)
	return made, ours(err)
}

// WorkPool returns the work pool, or orchestrator.ErrNoWorkPool. "" is the one that is taken when
// none is named.
func (c *Client) WorkPool(ctx context.Context, name string) (*orchestrator.WorkPool, error) {
	return c.workPool(ctx, name)
}

// WorkPools returns all work pools by name.
func (c *Client) WorkPools(ctx context.Context) ([]*orchestrator.WorkPool, error) {
	runs, err := c.openRuns(ctx)
	if err != nil {
		return nil, err
	}
	pools, err := runs.WorkPools(ctx)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return pools, nil
}

// Workers returns the workers of the pool that are online.
func (c *Client) Workers(ctx context.Context, pool string) ([]orchestrator.Worker, error) {
	runs, err := c.openRuns(ctx)
	if err != nil {
		return nil, err
	}
	workers, err := runs.Workers(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return workers, nil
}

// ChangeWorkPool changes what change names.
func (c *Client) ChangeWorkPool(ctx context.Context, name string, change orchestrator.WorkPoolChange) error {
	if change.BaseJobTemplate != nil {
		if _, err := launch.ParseTemplate(change.BaseJobTemplate); err != nil {
			return fmt.Errorf("submit: %w", &InvalidError{"the base job template is not one: " + err.Error()})
		}
	}
	return c.withWorkPool(ctx, name, func(runs backend) error { return runs.ChangeWorkPool(ctx, name, change) })
}

// SetDefaultWorkPool has the pool taken where none is named.
func (c *Client) SetDefaultWorkPool(ctx context.Context, name string) error {
	return c.withWorkPool(ctx, name, func(runs backend) error { return runs.SetDefaultWorkPool(ctx, name) })
}

// DeleteWorkPool forgets the pool. What waited there is CANCELLED.
func (c *Client) DeleteWorkPool(ctx context.Context, name string) error {
	return c.withWorkPool(ctx, name, func(runs backend) error { return runs.DeleteWorkPool(ctx, name) })
}

// withWorkPool also makes the embedded pool, should it be the one that is meant.
func (c *Client) withWorkPool(ctx context.Context, name string, do func(backend) error) error {
	if _, err := c.workPool(ctx, name); err != nil {
		return err
	}
	runs, err := c.openRuns(ctx)
	if err != nil {
		return err
	}
	if err := do(runs); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	return nil
}
