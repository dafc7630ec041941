package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

type workPoolCreateOptions struct {
	poolType     string
	template     string
	description  string
	limit        string
	paused       bool
	setAsDefault bool
	overwrite    bool
}

func newWorkPoolCreateCommand(c *console) *cobra.Command {
	opts := &workPoolCreateOptions{}
	cmd := &cobra.Command{
		Use:   "create NAME --type T",
		Short: "Make a work pool",
		Long: `Create makes a work pool and prints its name. Without a base job template it gets
the default one of its type. With --overwrite, one of that name and type gets the
template, is paused or not, and gets what else is given; where its bundles are
stored stays.

JSON: as of work-pool inspect.`,
		Example: `  flowship work-pool create nightly --type process --concurrency-limit 4
  flowship work-pool create nightly --type process --base-job-template job.json`,
		Args: arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.poolType == "" {
				return errNoPoolType()
			}
			return runWorkPoolCreate(cmd.Context(), c, opts, args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.poolType, "type", "", typeHelp)
	flags.StringVar(&opts.template, "base-job-template", "", "a `FILE` with a base job template, - for stdin")
	flags.StringVar(&opts.description, "description", "", "a `TEXT` that says what it is for")
	flags.StringVar(&opts.limit, "concurrency-limit", "", "have at most `N` of its runs under way (default: no limit)")
	flags.BoolVar(&opts.paused, "paused", false, "offer no run to workers until work-pool resume")
	flags.BoolVar(&opts.setAsDefault, "set-as-default", false, "take it where no work pool is named")
	flags.BoolVar(&opts.overwrite, "overwrite", false, "change the work pool if it is there")
	return cmd
}

func runWorkPoolCreate(ctx context.Context, c *console, opts *workPoolCreateOptions, name string) error {
	pool := orchestrator.NewWorkPool{Name: name, Type: opts.poolType, Description: opts.description, Paused: opts.paused}
	var err error
	if opts.limit != "" {
		if pool.ConcurrencyLimit, err = concurrencyLimit(opts.limit); err != nil {
			return err
		}
	}
	if pool.BaseJobTemplate, err = c.readTemplate(ctx, opts.template); err != nil {
		return err
	}
	return c.withWorkPool(ctx, name, func(client *submit.Client) error {
		_, err := client.CreateWorkPool(ctx, pool)
		if errors.Is(err, orchestrator.ErrExists) && opts.overwrite {
			err = overwriteWorkPool(ctx, client, pool)
		}
		if err == nil && opts.setAsDefault {
			err = client.SetDefaultWorkPool(ctx, name)
		}
		return err
	})
}

// overwriteWorkPool changes a pool into what was asked for, except for where its bundles are
// stored.
func overwriteWorkPool(ctx context.Context, client *submit.Client, pool orchestrator.NewWorkPool) error {
	there, err := client.WorkPool(ctx, pool.Name)
	if err != nil {
		return err
	}
	if there.Type != pool.Type {
		return usagef("delete it first, or choose another name", "work pool %q is of type %q, which cannot be changed to %q", pool.Name, there.Type, pool.Type)
	}
	if pool.BaseJobTemplate == nil {
		if pool.BaseJobTemplate, err = client.BaseJobTemplate(ctx, pool.Type); err != nil {
			return fmt.Errorf("work pool %q: %w", pool.Name, err)
		}
	}
	change := orchestrator.WorkPoolChange{Paused: &pool.Paused, ConcurrencyLimit: pool.ConcurrencyLimit, BaseJobTemplate: pool.BaseJobTemplate}
	if pool.Description != "" {
		change.Description = &pool.Description
	}
	return client.ChangeWorkPool(ctx, pool.Name, change)
}
