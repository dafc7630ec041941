package main

import (
	"bufio"
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit"
)

func newFlowRunCancelCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel ID",
		Short: "End a flow run",
		Long: `Cancel asks for the end of a flow run and prints the state that it has then:
Cancelled if nothing had launched it, else Cancelling, until who launched it has
stopped it by SIGINT, SIGTERM and SIGKILL. Flow-run wait waits for that. A container
or Kubernetes Job whose launcher was killed is stopped by this command.

JSON: {"id", "name", "state": {"type", "name", "message", "timestamp"}}.`,
		Example: `  flowship flow-run cancel bold-otter`,
		Args:    arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFlowRunCancel(cmd.Context(), c, args[0])
		},
	}
}

func runFlowRunCancel(ctx context.Context, c *console, ref string) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	run, err := client.FlowRun(ctx, ref)
	if err != nil {
		return aboutFlowRun(err)
	}
	state, err := client.Cancel(ctx, run.ID)
	if _, ok := errors.AsType[*submit.EndedError](err); ok {
		return &hinted{err: err, kind: kind(bundle.KindConflict)}
	}
	if err != nil {
		return aboutFlowRun(err)
	}
	if c.json {
		return c.writeJSON(func(j *jsonWriter) {
			j.object(func() {
				j.member("id", run.ID)
				j.member("name", run.Name)
				j.member("state", state)
			})
		})
	}
	return c.print(func(w *bufio.Writer) {
		state := stateCell(state)
		w.WriteString(paint(c.outStyled, state.style, state.text) + "\n")
	})
}
