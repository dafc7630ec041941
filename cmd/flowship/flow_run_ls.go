package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit/orchestrator"
)

type flowRunLsOptions struct {
	limit  int
	states []string
	pool   string
}

func newFlowRunLsCommand(c *console) *cobra.Command {
	opts := &flowRunLsOptions{}
	cmd := &cobra.Command{
		Use:   "ls [--limit N] [--state TYPE]... [--pool NAME]",
		Short: "List flow runs, the latest first",
		Long: `Ls lists flow runs, the latest first. TOOK is the time from when a run was first
started to its end.

JSON: [{"id", "name", "flow", "state": {"type", "name", "message", "timestamp"},
"work_pool", "parameters", "tags", "created", "started", "ended"}]; started and
ended are null before the run has.`,
		Example: `  flowship flow-run ls
  flowship flow-run ls --state FAILED --state CRASHED --limit 0`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runFlowRunLs(cmd.Context(), c, opts)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&opts.limit, "limit", 15, "list at most `N` runs; 0: all")
	flags.StringArrayVar(&opts.states, "state", nil, "list runs in a state of this `TYPE`, such as RUNNING; repeatable")
	flags.StringVar(&opts.pool, "pool", "", "list runs of the work pool `NAME`")
	return cmd
}

// stateTypes are what --state may be.
var stateTypes = [...]orchestrator.StateType{
	orchestrator.TypeScheduled, orchestrator.TypePending, orchestrator.TypeRunning, orchestrator.TypePaused, orchestrator.TypeCancelling,
	orchestrator.TypeCompleted, orchestrator.TypeFailed, orchestrator.TypeCrashed, orchestrator.TypeCancelled,
}

func (o *flowRunLsOptions) filter() (orchestrator.Filter, error) {
	f := orchestrator.Filter{WorkPool: o.pool}
	if o.limit < 0 {
		return f, usagef("0 stands for all", "--limit %d is negative", o.limit)
	}
	for _, s := range o.states {
		typ := orchestrator.StateType(strings.ToUpper(s))
		if !slices.Contains(stateTypes[:], typ) {
			return f, usagef("the types are "+strings.Trim(fmt.Sprint(stateTypes), "[]"), "unknown state type %q", s)
		}
		f.States = append(f.States, typ)
	}
	if o.limit > 0 {
		f.Limit = o.limit + 1 // to know whether there are more
	}
	return f, nil
}

type flowRunJSON struct {
	ID         string             `json:"id"`
	Name       string             `json:"name"`
	Flow       string             `json:"flow"`
	State      orchestrator.State `json:"state"`
	WorkPool   string             `json:"work_pool"`
	Parameters json.RawMessage    `json:"parameters"`
	Tags       []string           `json:"tags"`
	Created    time.Time          `json:"created"`
	Started    *time.Time         `json:"started"`
	Ended      *time.Time         `json:"ended"`
}

func runFlowRunLs(ctx context.Context, c *console, opts *flowRunLsOptions) error {
	filter, err := opts.filter()
	if err != nil {
		return err
	}
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	runs, err := client.FlowRuns(ctx, filter)
	if err != nil {
		return unavailable(err)
	}
	more := opts.limit > 0 && len(runs) > opts.limit
	if more {
		runs = runs[:opts.limit]
	}
	if err := c.printFlowRuns(runs, time.Now()); err != nil {
		return err
	}
	if more && !c.quiet && !c.json {
		fmt.Fprintln(c.err, paint(c.errStyled, dim, "there are more: --limit 0 lists all"))
	}
	return nil
}

func (c *console) printFlowRuns(runs []*orchestrator.FlowRun, now time.Time) error {
	if c.json {
		return c.writeJSON(func(j *jsonWriter) {
			j.list(func() {
				for _, r := range runs {
					j.element(flowRunJSON{
						r.ID, r.Name, r.Flow, r.State, r.WorkPool, r.Parameters, notNull(r.Tags), r.Created, timeOrNull(r.Started), timeOrNull(r.Ended),
					})
				}
			})
		})
	}
	t := &table{head: []string{"ID", "NAME", "FLOW", "POOL", "STATE", "CREATED", "TOOK"}}
	for _, r := range runs {
		t.add(
			text(shortID(r.ID)), text(shown(r.Name)), text(shown(r.Flow)), text(shown(r.WorkPool)), stateCell(r.State),
			text(humanAge(now.Sub(r.Created))), text(took(r.Started, r.Ended, now)),
		)
	}
	return c.print(func(w *bufio.Writer) { t.write(w, c.outStyled) })
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
