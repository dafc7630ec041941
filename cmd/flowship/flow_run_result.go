package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit"
)

func newFlowRunResultCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "result ID",
		Short: "Print the result of a flow run",
		Long: `Result prints what a flow run resulted in, as one line of JSON: null if it completed
without a result. A run that did not complete has none: then the exit code is 1, and
the error says how it ended.`,
		Example: `  flowship flow-run result bold-otter`,
		Args:    arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFlowRunResult(cmd.Context(), c, args[0])
		},
	}
}

// exitNotCompleted is the code for a run that ended FAILED, CRASHED or CANCELLED.
const exitNotCompleted = 1

func runFlowRunResult(ctx context.Context, c *console, ref string) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	result, err := client.Result(ctx, ref)
	if _, ok := errors.AsType[*submit.EndedError](err); ok {
		return &hinted{err: err, kind: kind(bundle.KindNotFound), code: exitNotCompleted}
	}
	if err != nil {
		return aboutFlowRun(err)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, result); err != nil {
		return err
	}
	return c.print(func(w *bufio.Writer) {
		w.Write(line.Bytes())
		w.WriteByte('\n')
	})
}
