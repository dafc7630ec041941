package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit/orchestrator"
)

type workPoolUpdateOptions struct {
	template    string
	limit       string
	description givenString
}

func newWorkPoolUpdateCommand(c *console) *cobra.Command {
	opts := &workPoolUpdateOptions{}
	cmd := &cobra.Command{
		Use:   "update NAME",
		Short: "Change a work pool",
		Long: `Update changes what its flags name, and prints the work pool's name.

JSON: as of work-pool inspect.`,
		Example: `  flowship work-pool update nightly --base-job-template job.json`,
		Args:    arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.template == "" && opts.limit == "" && !opts.description.given {
				return usagef("", "nothing to change")
			}
			return runWorkPoolUpdate(cmd.Context(), c, opts, args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.template, "base-job-template", "", "a `FILE` with a base job template, - for stdin")
	flags.StringVar(&opts.limit, "concurrency-limit", "", "have at most `N` of its runs under way")
	flags.Var(&opts.description, "description", "a `TEXT` that says what it is for")
	return cmd
}

func runWorkPoolUpdate(ctx context.Context, c *console, opts *workPoolUpdateOptions, name string) error {
	var change orchestrator.WorkPoolChange
	var err error
	if opts.limit != "" {
		if change.ConcurrencyLimit, err = concurrencyLimit(opts.limit); err != nil {
			return err
		}
	}
	if opts.description.given {
		change.Description = &opts.description.value
	}
	if change.BaseJobTemplate, err = c.readTemplate(ctx, opts.template); err != nil {
		return err
	}
	return c.changeWorkPool(ctx, name, change)
}
