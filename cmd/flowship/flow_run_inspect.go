package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

func newFlowRunInspectCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect ID",
		Short: "Show a flow run",
		Long: `Inspect shows what is known about a flow run, and the states that it had.

JSON: as of run, and "flow", "version", "tags", "labels", "priority",
"job_variables", "infrastructure", "retries", "retried", "retry_delay", "created",
"started", "ended", "states": [{"type", "name", "message", "timestamp"}]. Of the
timings, "launch" is from when the run was recorded until the command was started,
and "run" from then until its end.`,
		Example: `  flowship flow-run inspect 289ed969
  flowship flow-run inspect bold-otter -o json`,
		Args: arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFlowRunInspect(cmd.Context(), c, args[0])
		},
	}
}

// inspectedJSON is a run with what only inspect shows.
type inspectedJSON struct {
	*submit.Run
	Flow           string               `json:"flow"`
	Version        string               `json:"version"`
	Tags           []string             `json:"tags"`
	Labels         map[string]string    `json:"labels"`
	Priority       int                  `json:"priority"`
	JobVariables   json.RawMessage      `json:"job_variables"`
	Infrastructure string               `json:"infrastructure"`
	Retries        int                  `json:"retries"` // how often it may be run again
	Retried        int                  `json:"retried"` // how often it was
	RetryDelay     submit.Seconds       `json:"retry_delay"`
	Created        time.Time            `json:"created"`
	Started        *time.Time           `json:"started"`
	Ended          *time.Time           `json:"ended"`
	States         []orchestrator.State `json:"states"`
}

func runFlowRunInspect(ctx context.Context, c *console, ref string) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	run, err := client.FlowRun(ctx, ref)
	if err != nil {
		return aboutFlowRun(err)
	}
	states, err := client.States(ctx, run.ID)
	if err != nil {
		return aboutFlowRun(err)
	}
	for _, err := range run.Warnings {
		c.warn("%v", err)
	}
	if c.json {
		labels := run.Labels
		if labels == nil {
			labels = map[string]string{}
		}
		return c.printJSON(inspectedJSON{
			run, run.Flow, run.Version, notNull(run.Tags), labels, run.Priority, run.JobVariables, run.Infrastructure, run.Policy.Retries, run.Retries,
			submit.Seconds(run.Policy.RetryDelay), run.Created, timeOrNull(run.Started), timeOrNull(run.Ended), notNull(states),
		})
	}
	return c.print(func(w *bufio.Writer) { writeRun(w, c.outStyled, run, states, time.Now()) })
}

// writeRun prints a flow run for a person.
func writeRun(w *bufio.Writer, styled bool, run *submit.Run, states []orchestrator.State, now time.Time) {
	rows := &rows{w: w, styled: styled, width: 14}
	rows.add("run", text(shown(run.Name)))
	rows.add("id", text(run.ID))
	rows.add("flow", text(shown(run.Flow)))
	rows.add("version", text(shown(run.Version)))
	rows.add("state", stateCell(run.State))
	rows.add("message", text(shown(run.State.Message)))
	rows.add("work pool", text(shown(run.WorkPool)))
	rows.add("infrastructure", text(shown(run.Infrastructure)))
	if run.Priority != 0 {
		rows.add("priority", text(strconv.Itoa(run.Priority)))
	}
	rows.add("tags", text(shown(strings.Join(run.Tags, ", "))))
	for _, name := range slices.Sorted(maps.Keys(run.Labels)) {
		rows.add("label", text(shown(name+"="+run.Labels[name])))
	}
	rows.add("created", moment(run.Created, now))
	rows.add("started", moment(run.Started, now))
	rows.add("ended", moment(run.Ended, now))
	rows.add("took", text(took(run.Started, run.Ended, now)))
	rows.add("retries", text(retries(run)))
	rows.add("parameters", text(jsonText(run.Parameters)))
	if v := jsonText(run.JobVariables); v != "{}" {
		rows.add("job variables", text(v))
	}
	rows.add("result", text(jsonText(run.Result)))
	if run.Bundle.Key != "" { // one of Prefect's own has none that is known
		rows.add("bundle", text(shown(run.Bundle.URL+"/"+run.Bundle.Key)))
	}
	if run.Bundle.FilesKey != nil {
		rows.add("sidecar", text(*run.Bundle.FilesKey))
	}
	writeStates(w, styled, states)
}

// retries says how often it was run again, of how often it may be; "" when it was not to be.
func retries(run *submit.Run) string {
	if run.Retries == 0 && run.Policy.Retries == 0 {
		return ""
	}
	s := fmt.Sprintf("%d of %d", run.Retries, run.Policy.Retries)
	if run.Policy.RetryDelay > 0 {
		s += ", " + humanDuration(run.Policy.RetryDelay) + " later"
	}
	return s
}

// writeStates prints the states that the run had, each with the time since the one before.
func writeStates(w *bufio.Writer, styled bool, states []orchestrator.State) {
	if len(states) == 0 {
		return
	}
	w.WriteByte('\n')
	t := &table{head: []string{"STATE", "SINCE", ">AFTER", "MESSAGE"}}
	for i, s := range states {
		after := ""
		if i > 0 {
			after = humanDuration(s.Timestamp.Sub(states[i-1].Timestamp))
		}
		t.add(stateCell(s), text(s.Timestamp.Local().Format("15:04:05.000")), text(after), text(shown(s.Message)))
	}
	t.write(w, styled)
}

// mostJSON is how many bytes of a value are shown among other things.
const mostJSON = 400

// jsonText is the beginning of a value on one line; "" for no value.
func jsonText(value json.RawMessage) string {
	var line bytes.Buffer
	if json.Compact(&line, value) != nil || line.String() == "null" {
		return ""
	}
	s := line.String()
	if len(s) > mostJSON {
		s = strings.ToValidUTF8(s[:mostJSON], "") + "…"
	}
	return shown(s)
}
