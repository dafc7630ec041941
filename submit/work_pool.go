package submit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	if poolType != processinfra.Type {
		return nil, fmt.Errorf("%w: %q; want %q", ErrNoDriver, poolType, processinfra.Type)
	}
	if err := os.MkdirAll(c.path("run"), 0o700); err != nil {
		return nil, err
	}
	return c.infra, nil
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
		name = embeddedPool
	}
	pool, err := runs.WorkPool(ctx, name)
	if errors.Is(err, orchestrator.ErrNoWorkPool) && name == embeddedPool {
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
		template, err := c.BaseJobTemplate(pool.Type)
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

// BaseJobTemplate returns the default base job template of a type of work pool, as JSON. It is
// ErrNoDriver for an unknown one.
func (c *Client) BaseJobTemplate(poolType string) (json.RawMessage, error) {
	infra, err := c.infrastructure(poolType)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return json.Marshal(infra.Template())
}

// CreateWorkPool makes a work pool. Without a base job template it gets the default one of its
// type. It is orchestrator.ErrExists when there is one of that name.
func (c *Client) CreateWorkPool(ctx context.Context, pool orchestrator.NewWorkPool) (*orchestrator.WorkPool, error) {
	if _, err := c.infrastructure(pool.Type); err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	runs, err := c.openRuns(ctx)
	if err != nil {
		return nil, err
	}
	made, err := c.makeWorkPool(ctx, runs, pool)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return made, nil
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

// The steps of a pool whose bundles are stored in a folder.
const (
	uploadStep    = "flowship.step.upload"
	executionStep = "flowship.step.execute"
	pathOption    = "path"
)

// storageConfiguration is Prefect's storage_configuration of a work pool.
type storageConfiguration struct {
	Upload    launch.Step `json:"bundle_upload_step"`
	Execution launch.Step `json:"bundle_execution_step"`
	Results   *string     `json:"default_result_storage_block_id"`
}

// ConfigureLocalStorage has the bundles of the pool stored in the folder, which is made if need
// be. The launcher may be nil.
func (c *Client) ConfigureLocalStorage(ctx context.Context, name, dir string, launcher *launch.Launcher) error {
	if strings.TrimSpace(dir) == "" {
		return fmt.Errorf("submit: %w", &InvalidError{"the path of the storage is empty"})
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if launcher == nil {
		launcher = &launch.Launcher{}
	}
	options := []launch.StepOption{{Name: pathOption, Value: dir}}
	text, err := json.Marshal(storageConfiguration{
		Upload:    launch.Step{Module: uploadStep, Launcher: launcher.Upload, Options: options},
		Execution: launch.Step{Module: executionStep, Launcher: launcher.Execution, Options: options},
	})
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	return c.ChangeWorkPool(ctx, name, orchestrator.WorkPoolChange{Storage: text})
}

// PoolStorage says where the bundles of a pool are stored, as Prefect's inspection of it does.
type PoolStorage struct {
	Type      string         `json:"type"`
	Upload    map[string]any `json:"upload,omitempty"`
	Execution map[string]any `json:"execution,omitempty"`
}

// Storage returns how the pool's storage is configured, or nil when it is not: then bundles are
// stored in the state directory.
func (c *Client) Storage(ctx context.Context, name string) (*PoolStorage, error) {
	pool, err := c.workPool(ctx, name)
	if err != nil || pool.Storage == nil {
		return nil, err
	}
	// A step is an object with one member, the module, which holds the options.
	var steps struct {
		Upload    map[string]map[string]any `json:"bundle_upload_step"`
		Execution map[string]map[string]any `json:"bundle_execution_step"`
	}
	if err := json.Unmarshal(pool.Storage, &steps); err != nil {
		return nil, fmt.Errorf("submit: work pool %q: storage: %w", name, err)
	}
	return &PoolStorage{Type: "Local", Upload: steps.Upload[uploadStep], Execution: steps.Execution[executionStep]}, nil
}

// storageOf reads how the pool's storage is configured; nil when it is not.
func storageOf(pool *orchestrator.WorkPool) (*storageConfiguration, error) {
	if pool.Storage == nil {
		return nil, nil
	}
	s := &storageConfiguration{}
	if err := json.Unmarshal(pool.Storage, s); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return s, nil
}

// storageDir is the folder of the pool's bundles, or "" for that of the state directory.
func storageDir(pool *orchestrator.WorkPool) (string, error) {
	s, err := storageOf(pool)
	if s == nil || err != nil {
		return "", err
	}
	for _, option := range s.Upload.Options {
		if s.Upload.Module == uploadStep && option.Name == pathOption && filepath.IsAbs(option.Value) {
			return option.Value, nil
		}
	}
	return "", fmt.Errorf("storage: %q is not a folder's", s.Upload.Module)
}

// executionLauncher is what the pool puts in place of the executor's program, or nil.
func executionLauncher(pool *orchestrator.WorkPool) ([]string, error) {
	s, err := storageOf(pool)
	if s == nil || err != nil {
		return nil, err
	}
	return s.Execution.Launcher, nil
}
