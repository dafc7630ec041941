package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
)

func newFlowRunRetryCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "retry ID",
		Short: "Run a flow run again that has ended",
		Long: `Retry has a flow run that has ended run again, with the same bundle and the same id,
which it prints. One that came from a work pool waits there again; another one is
launched from here, as by submit.

JSON: as of run; "state" is the one that the run had when retry ended.`,
		Example: `  flowship flow-run retry bold-otter`,
		Args:    arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFlowRunRetry(cmd.Context(), c, args[0])
		},
	}
}

func runFlowRunRetry(ctx context.Context, c *console, ref string) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	run, err := client.Retry(ctx, ref)
	if err != nil {
		if _, ok := errors.AsType[*submit.LaunchError](err); ok {
			return aboutSubmission(err)
		}
		return aboutFlowRun(err)
	}
	return c.printSubmitted(run)
}
