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
	"github.com/flowship/flowship/submit/result"
)

func newFlowRunResultCommand(c *console) *cobra.Command {
	raw := false
	cmd := &cobra.Command{
		Use:   "result ID [--raw]",
		Short: "Print the result of a flow run",
		Long: `Result prints what a flow run resulted in, as one line of JSON: null if it completed
without a result. A run that did not complete has none: then the exit code is 1, and
the error says how it ended.

What a flow in Python returned on a Prefect server is read from where the server says.
Pickles of plain values are JSON here; for others --raw prints the bytes, which
nothing here unpickles.`,
		Example: `  flowship flow-run result bold-otter
  flowship flow-run result bold-otter --raw >result.pickle`,
		Args: arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFlowRunResult(cmd.Context(), c, args[0], raw)
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "print the bytes that were stored, not decoded")
	return cmd
}

// exitNotCompleted is the code for a run that ended FAILED, CRASHED or CANCELLED.
const exitNotCompleted = 1

func runFlowRunResult(ctx context.Context, c *console, ref string, raw bool) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	get := client.StoredResult
	if raw {
		get = func(ctx context.Context, ref string) (json.RawMessage, error) { return client.RawResult(ctx, ref) }
	}
	text, err := get(ctx, ref)
	if _, ok := errors.AsType[*submit.EndedError](err); ok {
		return &hinted{err: err, kind: kind(bundle.KindNotFound), code: exitNotCompleted}
	}
	if _, ok := errors.AsType[*result.NotPlainError](err); ok || errors.Is(err, result.ErrNotJSON) {
		return &hinted{err: err, kind: kind(bundle.KindRefused), hint: "flowship flow-run result --raw prints the bytes, for Python to read"}
	}
	if errors.Is(err, submit.ErrNotPersisted) {
		c.warn("%v: null stands for whatever it returned; a flow in Python keeps its result with persist_result=True", err)
		text, err = json.RawMessage("null"), nil
	}
	if err != nil {
		return aboutFlowRun(err)
	}
	if raw {
		return c.print(func(w *bufio.Writer) { w.Write(text) })
	}
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil {
		return err
	}
	return c.print(func(w *bufio.Writer) {
		w.Write(line.Bytes())
		w.WriteByte('\n')
	})
}
