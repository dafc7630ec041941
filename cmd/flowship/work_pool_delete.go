package main

import (
	"bufio"
	"context"

	"github.com/spf13/cobra"
)

func newWorkPoolDeleteCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a work pool",
		Long: `Delete forgets a work pool and prints its name. The runs that wait in it are
CANCELLED; what is under way goes on. What is stored stays.

JSON: {"name"}.`,
		Args: arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runWorkPoolDelete(cmd.Context(), c, args[0])
		},
	}
}

func runWorkPoolDelete(ctx context.Context, c *console, name string) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.DeleteWorkPool(ctx, name); err != nil {
		return aboutWorkPool(err)
	}
	if c.json {
		return c.writeJSON(func(j *jsonWriter) {
			j.object(func() { j.member("name", name) })
		})
	}
	return c.print(func(w *bufio.Writer) { w.WriteString(shown(name) + "\n") })
}
