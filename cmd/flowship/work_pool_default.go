package main

import (
	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
)

func newSetDefaultCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "set-default NAME",
		Short: "Take a work pool where none is named",
		Long: `Set-default has the work pool taken by commands without --pool, and prints its name.

JSON: as of work-pool inspect.`,
		Args: arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withWorkPool(cmd.Context(), args[0], func(client *submit.Client) error {
				return client.SetDefaultWorkPool(cmd.Context(), args[0])
			})
		},
	}
}
