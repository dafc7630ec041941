package main

import "github.com/spf13/cobra"

func newWorkerCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Serve work pools",
		Long: `A worker takes what waits in a work pool and launches it. Any number of them may
serve one pool: each run is launched once.`,
	}
	group(cmd)
	cmd.AddCommand(newWorkerStartCommand(c))
	return cmd
}
