package main

import (
	"context"

	"github.com/spf13/cobra"
)

func newSubmitToWorkPoolCommand(c *console) *cobra.Command {
	opts := &flowFlags{}
	cmd := &cobra.Command{
		Use:         "submit-to-work-pool [ENTRYPOINT] --include PATTERN... [-- COMMAND...]",
		Short:       "Leave a command or a flow to the workers of a work pool",
		Annotations: map[string]string{packing: ""},
		Long: `Submit-to-work-pool packs and stores as run does, has the flow run wait in the work
pool, and prints its id. A worker of that pool launches it: flowship worker start.

JSON: as of run; "state" is SCHEDULED.`,
		Example: `  flowship submit-to-work-pool --pool gpu flows/etl.py:main --include 'data/*.csv'
  flowship submit-to-work-pool -v env='{"MODE": "fast"}' --include f.sh -- sh f.sh`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := opts.flowTarget(cmd, args)
			if err != nil {
				return err
			}
			return runSubmitToWorkPool(cmd.Context(), c, opts, t)
		},
	}
	opts.register(cmd.Flags())
	return cmd
}

func runSubmitToWorkPool(ctx context.Context, c *console, opts *flowFlags, t *target) error {
	inv, err := opts.read(ctx, c, t)
	if err != nil {
		return err
	}
	client, err := openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	run, err := client.SubmitToWorkPool(ctx, inv)
	if err != nil {
		return aboutSubmission(err)
	}
	return c.printSubmitted(run)
}
