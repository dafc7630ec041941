package submit

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/processinfra"
	"github.com/flowship/flowship/submit/worker"
)

// Work serves a work pool until ctx ends, as [worker.Worker.Run] says. What the worker's own
// environment says about Prefect stays with it: jobs do not inherit PREFECT_ variables.
func (c *Client) Work(ctx context.Context, opts worker.Options) error {
	if err := c.needExecutor(ctx); err != nil {
		return err
	}
	pool, err := c.workPool(ctx, opts.WorkPool)
	if err != nil {
		return err
	}
	opts.WorkPool = pool.Name
	if _, err := c.infrastructure(pool.Type); err != nil {
		return fmt.Errorf("submit: work pool %q: %w", pool.Name, err)
	}
	runs, err := c.openRuns(ctx)
	if err != nil {
		return err
	}
	if err := c.fillTemplate(ctx, runs, pool); err != nil {
		return err
	}
	if len(opts.Queues) > 0 && !c.onPrefect() {
		return fmt.Errorf("submit: work pool %q: %w", pool.Name, &InvalidError{"only work pools of a Prefect server have work queues"})
	}
	if c.onPrefect() {
		api, err := c.api(ctx)
		if err != nil {
			return err
		}
		api.SetQueues(pool.Name, opts.Queues)
		opts.Interval = cmp.Or(opts.Interval, c.prefect.Query, prefectInterval)
		opts.Heartbeat = cmp.Or(opts.Heartbeat, prefectHeartbeat)
	}
	infra := launch.New(processinfra.Type, processinfra.New(&processinfra.Options{Dir: c.path("run"), Environ: withoutPrefect(os.Environ())}))
	launcher := c.launcher(runs)
	launcher.Infrastructure = func(poolType string) (*launch.Infrastructure, error) {
		its, err := c.infrastructure(poolType)
		if err != nil || poolType != processinfra.Type {
			return its, err
		}
		return infra, nil
	}
	opts.Ready = func() error { // while the program is being replaced, runs had better wait than crash
		_, err := exec.LookPath(c.executor[0])
		return err
	}
	if err := worker.New(launcher, runs, opts).Run(ctx); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	return nil
}

// How often a worker of a Prefect server looks for work, which it is told about as well, and says
// that it is there.
const (
	prefectInterval  = 5 * time.Second
	prefectHeartbeat = 30 * time.Second
)

func withoutPrefect(environ []string) []string {
	return slices.DeleteFunc(environ, func(v string) bool { return strings.HasPrefix(v, "PREFECT_") })
}
