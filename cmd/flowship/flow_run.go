package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

func newFlowRunCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "flow-run",
		Aliases: []string{"flow-runs"},
		Short:   "List, inspect, follow, cancel and delete flow runs",
		Long: `A flow run is one call of a command or a flow, recorded with its states, its bundle
and its result. ID is its id, the beginning of its id, or its name, as long as one
run is meant.

Every run ends. Its submitter and its executor each hold a lease on it; a run that
both have left, because they were killed or the machine went down, is CRASHED as
soon as anybody looks at flow runs or starts another one. One whose container or
Kubernetes Job goes on is taken up by a worker, or by wait and logs --follow.`,
	}
	group(cmd)
	cmd.AddCommand(
		newFlowRunLsCommand(c), newFlowRunInspectCommand(c), newFlowRunLogsCommand(c), newFlowRunWaitCommand(c), newFlowRunResultCommand(c),
		newFlowRunCancelCommand(c), newFlowRunRetryCommand(c), newFlowRunDeleteCommand(c),
	)
	return cmd
}

// aboutFlowRun gives errors about flow runs their hints.
func aboutFlowRun(err error) error {
	hint := ""
	switch {
	case noAPI(err):
		return unavailable(err)
	case errors.Is(err, submit.ErrNoBundle):
		hint = "it was not submitted by flowship, nor to a work pool: who called the flow can call it again"
	case errors.Is(err, orchestrator.ErrNotFound):
		hint = "flowship flow-run ls shows the runs that there are"
	case errors.Is(err, orchestrator.ErrAmbiguous):
		hint = "flowship flow-run ls shows the ids; give one, or more of it"
	case errors.Is(err, orchestrator.ErrUnfinished):
		hint = "flowship flow-run wait waits for its end, flow-run cancel ends it"
	case errors.Is(err, storage.ErrNotFound):
		hint = "what the run left in the store was removed"
	case errors.Is(err, orchestrator.ErrNoWorkPool):
		return aboutWorkPool(err)
	default:
		return unavailable(err)
	}
	return &hinted{err: err, hint: hint}
}

// stateCell is a state's name in its colour.
func stateCell(s orchestrator.State) cell {
	cl := text(shown(s.Name))
	switch s.Type {
	case orchestrator.TypeCompleted:
		cl.style = green
	case orchestrator.TypeFailed, orchestrator.TypeCrashed:
		cl.style = red
	case orchestrator.TypeRunning, orchestrator.TypeCancelling:
		cl.style = yellow
	case orchestrator.TypeCancelled:
		cl.style = dim
	}
	return cl
}

// shortID is the part of an id that is shown where the whole would be too much.
func shortID(id string) string { return id[:min(len(id), 8)] }

// took says how long a run has run, until now if it still does; "" before it ran.
func took(started, ended, now time.Time) string {
	if started.IsZero() {
		return ""
	}
	if !ended.IsZero() {
		now = ended
	}
	return humanDuration(now.Sub(started))
}
