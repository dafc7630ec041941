package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
)

func newStepLaunchCommand(c *console) *cobra.Command {
	id := ""
	cmd := &cobra.Command{
		Use:    "launch --id ID",
		Short:  "Launch a flow run and look after it",
		Hidden: true, // it is what submit leaves behind
		Long: `Launch launches the flow run and looks after it until it has ended. On standard
output it says in one line of JSON that the infrastructure has accepted the job, or
why not.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if id == "" {
				return usagef("", "missing --id")
			}
			return runStepLaunch(cmd.Context(), c, id)
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "`ID` of the flow run")
	return cmd
}

func runStepLaunch(ctx context.Context, c *console, id string) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.LaunchDetached(ctx, id, os.Stdout); err != nil {
		return aboutSubmission(err)
	}
	return nil
}
