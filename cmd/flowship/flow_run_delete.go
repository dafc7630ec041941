package main

import (
	"bufio"
	"context"

	"github.com/spf13/cobra"
)

func newFlowRunDeleteCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "delete ID",
		Short: "Delete a flow run",
		Long: `Delete forgets a flow run, its result and its document, and prints its id. Its files
stay in the store, for other runs may have the same. A run that is under way is not
deleted.

JSON: {"id", "name"}.`,
		Example: `  flowship flow-run delete 289ed969`,
		Args:    arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFlowRunDelete(cmd.Context(), c, args[0])
		},
	}
}

func runFlowRunDelete(ctx context.Context, c *console, ref string) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	run, err := client.DeleteFlowRun(ctx, ref)
	if err != nil {
		return aboutFlowRun(err)
	}
	if c.json {
		return c.writeJSON(func(j *jsonWriter) {
			j.object(func() {
				j.member("id", run.ID)
				j.member("name", run.Name)
			})
		})
	}
	return c.print(func(w *bufio.Writer) { w.WriteString(run.ID + "\n") })
}
