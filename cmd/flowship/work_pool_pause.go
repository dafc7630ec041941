package main

import (
	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit/orchestrator"
)

func newWorkPoolPauseCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "pause NAME",
		Short: "Offer no runs of a work pool to workers",
		Long: `Pause has the runs that wait in the work pool go on waiting, and prints its name.
What is under way goes on.

JSON: as of work-pool inspect.`,
		Args: arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			paused := true
			return c.changeWorkPool(cmd.Context(), args[0], orchestrator.WorkPoolChange{Paused: &paused})
		},
	}
}

func newWorkPoolResumeCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "resume NAME",
		Short: "Offer the runs of a work pool to workers again",
		Long: `Resume ends a pause of the work pool, and prints its name.

JSON: as of work-pool inspect.`,
		Args: arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			paused := false
			return c.changeWorkPool(cmd.Context(), args[0], orchestrator.WorkPoolChange{Paused: &paused})
		},
	}
}
