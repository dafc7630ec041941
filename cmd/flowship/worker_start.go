package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/worker"
)

type workerStartOptions struct {
	pool     string
	poolType string
	limit    int
	name     string
	queues   []string
	runOnce  bool
}

func newWorkerStartCommand(c *console) *cobra.Command {
	opts := &workerStartOptions{}
	cmd := &cobra.Command{
		Use:   "start --pool NAME [--type T] [--limit N] [--name N] [--work-queue Q]... [--run-once]",
		Short: "Launch what waits in a work pool",
		Long: `Start serves a work pool until it gets a SIGINT or SIGTERM. Then it takes nothing
more and waits for the runs that it has launched; a second signal ends them, and
they are CRASHED. What it does it logs to standard error, beside what its jobs print
there; with -o json it logs objects, a line each, and jobs print to standard output.
A job whose stream_output is false prints nowhere.

Containers and Kubernetes Jobs of a worker that was killed go on: the next worker
takes them up. What killed programs left on a Docker engine it removes.

With --type, a work pool that is not there is made, with the default base job
template of the type.`,
		Example: `  flowship worker start --pool local --limit 4
  flowship worker start --pool nightly --type process --run-once`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case opts.pool == "":
				return usagef("flowship work-pool ls shows the work pools that there are", "missing --pool NAME")
			case opts.limit < 0:
				return usagef("0 stands for no limit", "--limit %d is negative", opts.limit)
			}
			return runWorkerStart(cmd.Context(), c, opts)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.pool, "pool", "", "`NAME` of the work pool")
	flags.StringVar(&opts.poolType, "type", "", "the work pool's type `T`, with which it is made if need be")
	flags.IntVar(&opts.limit, "limit", 0, "have at most `N` runs under way at once (default: no limit)")
	flags.StringVar(&opts.name, "name", "", "`NAME` of the worker (default: a random one)")
	flags.StringArrayVar(&opts.queues, "work-queue", nil, "serve only this `QUEUE` of the pool (repeatable), on a Prefect server")
	flags.BoolVar(&opts.runOnce, "run-once", false, "launch what is due now, and end when that has ended")
	return cmd
}

func runWorkerStart(ctx context.Context, c *console, opts *workerStartOptions) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := ensureWorkPool(ctx, client, opts.pool, opts.poolType); err != nil {
		return aboutWorkPool(err)
	}
	hurry, done := c.watchCancel(ctx, "")
	defer done()
	stderr := c.err
	if c.json {
		stderr = c.out // what is logged stays JSON alone
	}
	err = client.Work(ctx, worker.Options{
		WorkPool: opts.pool, Name: opts.name, Limit: opts.limit, Queues: opts.queues, RunOnce: opts.runOnce, Log: c.logger(), Hurry: hurry,
		Stdout: c.out, Stderr: stderr,
	})
	if err != nil {
		return aboutWorkPool(err)
	}
	return nil
}

// ensureWorkPool makes the work pool if its type is given and it is not there, and refuses one of
// another type.
func ensureWorkPool(ctx context.Context, client *submit.Client, name, poolType string) error {
	if poolType == "" {
		return nil
	}
	pool, err := client.WorkPool(ctx, name)
	if errors.Is(err, orchestrator.ErrNoWorkPool) {
		pool, err = client.CreateWorkPool(ctx, orchestrator.NewWorkPool{Name: name, Type: poolType})
		if errors.Is(err, orchestrator.ErrExists) { // another worker was quicker
			pool, err = client.WorkPool(ctx, name)
		}
	}
	if err != nil {
		return err
	}
	if pool.Type != poolType {
		return usagef("", "work pool %q is of type %q, not %q", name, pool.Type, poolType)
	}
	return nil
}

// logger writes what a command does while it goes on, a line a record.
func (c *console) logger() *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if c.quiet {
		opts.Level = slog.LevelWarn
	}
	if c.json {
		return slog.New(slog.NewJSONHandler(c.err, opts))
	}
	return slog.New(slog.NewTextHandler(c.err, opts))
}
