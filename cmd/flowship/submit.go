package main

import (
	"bufio"
	"context"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
)

func newSubmitCommand(c *console) *cobra.Command {
	opts := &flowFlags{}
	cmd := &cobra.Command{
		Use:         "submit [ENTRYPOINT] --include PATTERN... [-- COMMAND...]",
		Short:       "Have a command or a flow run from here, and do not wait for it",
		Annotations: map[string]string{packing: ""},
		Long: `Submit packs, stores and launches as run does, prints the id of the flow run, and
ends as soon as the infrastructure has accepted the job. The run goes on by itself.
What the program prints is kept: flowship flow-run logs ID -f. Flowship flow-run
wait waits for the end, result prints the result, cancel ends it, retry runs it
again.

JSON: as of run; "state" is the one that the run had when submit ended.`,
		Example: `  flowship submit flows/etl.py:main --include 'data/*.csv' -p least=40
  flowship submit --retries 3 --retry-delay 1m --include fetch.sh -- sh fetch.sh
  flowship flow-run wait $(flowship submit -- sleep 10)`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := opts.flowTarget(cmd, args)
			if err != nil {
				return err
			}
			return runSubmit(cmd.Context(), c, opts, t, (*submit.Client).Submit)
		},
	}
	opts.register(cmd.Flags())
	return cmd
}

// runSubmit submits in one of the two ways that do not wait for the end.
func runSubmit(ctx context.Context, c *console, opts *flowFlags, t *target, way func(*submit.Client, context.Context, submit.Invocation) (*submit.Run, error)) error {
	inv, err := opts.read(ctx, c, t)
	if err != nil {
		return err
	}
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	run, err := way(client, ctx, inv)
	if err != nil {
		return aboutSubmission(err)
	}
	return c.printSubmitted(run)
}

// printSubmitted prints the id of a run that goes on without us.
func (c *console) printSubmitted(run *submit.Run) error {
	for _, err := range run.Warnings {
		c.warn("%v", err)
	}
	if c.json {
		return c.printJSON(run)
	}
	return c.print(func(w *bufio.Writer) { w.WriteString(run.ID + "\n") })
}
