package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

type flowRunWaitOptions struct{ timeout time.Duration }

func newFlowRunWaitCommand(c *console) *cobra.Command {
	opts := &flowRunWaitOptions{}
	cmd := &cobra.Command{
		Use:   "wait ID... [--timeout DURATION]",
		Short: "Wait for the end of flow runs",
		Long: `Wait waits until all of the flow runs have ended, and prints a line for each as it
ends. The exit code is 0 if all of them completed, 1 if one did not, and 124 if they
took longer than --timeout; then they go on.

JSON: as of run, at the end; a list if there are several.`,
		Example: `  flowship flow-run wait bold-otter
  flowship flow-run wait 289ed969 7c41bd02 --timeout 1h`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("", "missing argument ID")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.timeout < 0 {
				return usagef("", "--timeout %v is negative", opts.timeout)
			}
			return runFlowRunWait(cmd.Context(), c, opts, args)
		},
	}
	cmd.Flags().DurationVar(&opts.timeout, "timeout", 0, "wait no longer than this: 90s, 1h30m (default: without end)")
	return cmd
}

func runFlowRunWait(ctx context.Context, c *console, opts *flowRunWaitOptions, refs []string) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	runs := make([]*submit.Run, len(refs))
	for i, ref := range refs {
		if runs[i], err = client.FlowRun(ctx, ref); err != nil {
			return aboutFlowRun(err)
		}
	}
	if opts.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opts.timeout)
		defer cancel()
	}
	if err := waitForAll(ctx, c, client, runs); err != nil {
		return err
	}
	return c.printWaited(context.WithoutCancel(ctx), client, runs)
}

// waitForAll returns when all have ended, or one cannot be waited for.
func waitForAll(ctx context.Context, c *console, client *submit.Client, runs []*submit.Run) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	left := len(runs)
	for _, run := range runs {
		all.Go(func() {
			state, err := client.Wait(ctx, run.ID)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				run.State = state
				left--
				err = c.printEnded(run)
			}
			if err != nil && failed == nil {
				failed = err
				stop()
			}
		})
	}
	all.Wait()
	switch {
	case failed == nil:
		return nil
	case errors.Is(failed, context.DeadlineExceeded):
		return &hinted{err: fmt.Errorf("%s not ended in time: %w", hasOrHave(left, len(runs)), failed), hint: "what has not ended goes on"}
	}
	return aboutFlowRun(failed)
}

func hasOrHave(left, all int) string {
	switch {
	case all == 1:
		return "the flow run has"
	case left == 1:
		return fmt.Sprintf("1 of %d flow runs has", all)
	}
	return fmt.Sprintf("%d of %d flow runs have", left, all)
}

// printEnded prints a line about a run that has ended, unless there will be JSON.
func (c *console) printEnded(run *submit.Run) error {
	if c.json {
		return nil
	}
	err := c.print(func(w *bufio.Writer) {
		state := stateCell(run.State)
		fmt.Fprintf(w, "%s  %s  %s\n", shortID(run.ID), shown(run.Name), paint(c.outStyled, state.style, state.text))
	})
	if run.State.Type != orchestrator.TypeCompleted && run.State.Message != "" && !c.quiet {
		fmt.Fprintln(c.err, paint(c.errStyled, red, "run "+shown(run.Name)+":"), ended(run.State))
	}
	return err
}

// printWaited prints the JSON of runs that have ended, and says whether all completed.
func (c *console) printWaited(ctx context.Context, client *submit.Client, runs []*submit.Run) error {
	completed := true
	for i, run := range runs {
		completed = completed && run.State.Type == orchestrator.TypeCompleted
		if !c.json {
			continue
		}
		var err error
		if runs[i], err = client.FlowRun(ctx, run.ID); err != nil {
			return aboutFlowRun(err)
		}
		for _, err := range runs[i].Warnings {
			c.warn("%v", err)
		}
	}
	if c.json {
		err := c.printRuns(runs)
		if err != nil {
			return err
		}
	}
	if !completed {
		return exitStatus(exitNotCompleted)
	}
	return nil
}

// printRuns prints one run as an object, several as a list.
func (c *console) printRuns(runs []*submit.Run) error {
	if len(runs) == 1 {
		return c.printJSON(runs[0])
	}
	return c.writeJSON(func(j *jsonWriter) {
		j.list(func() {
			for _, run := range runs {
				j.element(run)
			}
		})
	})
}
