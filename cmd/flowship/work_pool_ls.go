package main

import (
	"bufio"
	"context"

	"github.com/spf13/cobra"
)

func newWorkPoolLsCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List work pools",
		Long: `Ls lists work pools by name. One is ready when a worker serves it. RUNS are those
under way, of those that may be at once.

JSON: [{"name", "type", "status", "is_paused", "concurrency_limit", "active_slots",
"is_default", "description"}]; a status is READY, NOT_READY or PAUSED.`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runWorkPoolLs(cmd.Context(), c)
		},
	}
}

func runWorkPoolLs(ctx context.Context, c *console) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	pools, err := client.WorkPools(ctx)
	if err != nil {
		return unavailable(err)
	}
	if c.json {
		return c.writeJSON(func(j *jsonWriter) {
			j.list(func() {
				for _, p := range pools {
					j.element(listedWorkPool(p))
				}
			})
		})
	}
	t := &table{head: []string{"NAME", "TYPE", "STATUS", "RUNS", "DEFAULT", "DESCRIPTION"}}
	for _, p := range pools {
		standard := ""
		if p.Default {
			standard = "yes"
		}
		t.add(text(shown(p.Name)), text(shown(p.Type)), statusCell(p.Status), text(c.slots(p)), text(standard), text(shown(p.Description)))
	}
	return c.print(func(w *bufio.Writer) { t.write(w, c.outStyled) })
}
