package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
)

func newFlowRunInspectCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect ID",
		Short: "Show a flow run",
		Long: `Inspect shows what is known about a flow run.

JSON: as of run. Of the timings, "launch" is from when the run was recorded until the
command was started, and "run" from then until its end.`,
		Example: `  flowship flow-run inspect 289ed969
  flowship flow-run inspect bold-otter -o json`,
		Args: arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFlowRunInspect(cmd.Context(), c, args[0])
		},
	}
}

func runFlowRunInspect(ctx context.Context, c *console, ref string) error {
	client, err := openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	run, err := client.FlowRun(ctx, ref)
	if err != nil {
		return aboutFlowRun(err)
	}
	if c.json {
		return c.printJSON(run)
	}
	return c.print(func(w *bufio.Writer) { writeRun(w, c.outStyled, run, time.Now()) })
}

// writeRun prints a flow run for a person.
func writeRun(w *bufio.Writer, styled bool, run *submit.Run, now time.Time) {
	row := func(name string, value cell) {
		if value.text != "" {
			fmt.Fprintf(w, "%s %s\n", paint(styled, bold, fmt.Sprintf("%-10s", name)), paint(styled, value.style, value.text))
		}
	}
	moment := func(t time.Time) cell {
		if t.IsZero() {
			return text("")
		}
		return text(t.Local().Format(time.RFC3339) + ", " + strings.ToLower(humanAge(now.Sub(t))))
	}
	row("run", text(shown(run.Name)))
	row("id", text(run.ID))
	row("flow", text(shown(run.Flow)))
	row("state", stateCell(run.State))
	row("message", text(shown(run.State.Message)))
	row("work pool", text(shown(run.WorkPool)))
	row("tags", text(shown(strings.Join(run.Tags, ", "))))
	row("created", moment(run.Created))
	row("started", moment(run.Started))
	row("ended", moment(run.Ended))
	row("took", text(took(run.Started, run.Ended, now)))
	row("parameters", text(jsonText(run.Parameters)))
	row("result", text(jsonText(run.Result)))
	row("bundle", text(shown(run.Bundle.URL+"/"+run.Bundle.Key)))
	if run.Bundle.FilesKey != nil {
		row("sidecar", text(*run.Bundle.FilesKey))
	}
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
