package main

import (
	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit/orchestrator"
)

func newSetConcurrencyLimitCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "set-concurrency-limit NAME LIMIT",
		Short: "Limit how many runs of a work pool are under way",
		Long: `Set-concurrency-limit has workers launch no more runs of the work pool while LIMIT
are under way, and prints its name. What is run or submitted directly counts, and is
not held up.

JSON: as of work-pool inspect.`,
		Example: `  flowship work-pool set-concurrency-limit nightly 4`,
		Args:    arguments("NAME", "LIMIT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			limit, err := concurrencyLimit(args[1])
			if err != nil {
				return err
			}
			return c.changeWorkPool(cmd.Context(), args[0], orchestrator.WorkPoolChange{ConcurrencyLimit: limit})
		},
	}
}

func newClearConcurrencyLimitCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "clear-concurrency-limit NAME",
		Short: "Let any number of runs of a work pool be under way",
		Long: `Clear-concurrency-limit removes the limit of the work pool, and prints its name.

JSON: as of work-pool inspect.`,
		Args: arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			none := -1
			return c.changeWorkPool(cmd.Context(), args[0], orchestrator.WorkPoolChange{ConcurrencyLimit: &none})
		},
	}
}
