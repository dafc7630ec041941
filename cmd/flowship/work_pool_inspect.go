package main

import (
	"bufio"
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/orchestrator"
)

func newWorkPoolInspectCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect NAME",
		Short: "Show a work pool",
		Long: `Inspect shows a work pool, the workers that serve it, and the job variables that -v
sets, as its base job template has them. The template itself is in the JSON.

JSON: as of work-pool ls, and "id", "base_job_template", "storage_configuration",
"created", "updated", "workers": [{"name", "last_seen"}].`,
		Example: `  flowship work-pool inspect local -o json`,
		Args:    arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runWorkPoolInspect(cmd.Context(), c, args[0])
		},
	}
}

func runWorkPoolInspect(ctx context.Context, c *console, name string) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	pool, workers, err := lookUpWorkPool(ctx, client, name)
	if err != nil {
		return aboutWorkPool(err)
	}
	if c.json {
		return c.printJSON(describeWorkPool(pool, workers))
	}
	return c.print(func(w *bufio.Writer) { c.writeWorkPool(w, pool, workers, time.Now()) })
}

// writeWorkPool prints a work pool for a person.
func (c *console) writeWorkPool(w *bufio.Writer, p *orchestrator.WorkPool, workers []orchestrator.Worker, now time.Time) {
	rows := &rows{w: w, styled: c.outStyled, width: 11}
	rows.add("work pool", text(shown(p.Name)))
	rows.add("id", text(p.ID))
	rows.add("type", text(shown(p.Type)))
	rows.add("status", statusCell(p.Status))
	rows.add("description", text(shown(p.Description)))
	if p.Default {
		rows.add("default", text("yes"))
	}
	rows.add("runs", text(c.slots(p)))
	rows.add("created", moment(p.Created, now))
	rows.add("updated", moment(p.Updated, now))
	rows.add("storage", text(jsonText(p.Storage)))
	for _, worker := range workers {
		rows.add("worker", text(shown(worker.Name)))
	}
	if template, err := launch.ParseTemplate(p.BaseJobTemplate); err == nil { // a server may have others
		c.writeVariables(w, template.Variables())
	}
}

// writeVariables prints the job variables that there are, a line each.
func (c *console) writeVariables(w *bufio.Writer, variables []launch.Variable) {
	if len(variables) == 0 {
		return
	}
	w.WriteByte('\n')
	t := &table{head: []string{"JOB VARIABLE", "TYPE", "DEFAULT", "MEANING"}}
	for _, v := range variables {
		meaning := v.Title
		if v.Description != "" {
			meaning = strings.TrimSuffix(firstSentence(v.Description), ".")
		}
		value := string(v.Default)
		if v.Default == nil && v.Required {
			value = "required"
		}
		t.add(text(shown(v.Name)), text(shown(v.Type)), text(shown(value)), text(shown(strings.Join(strings.Fields(meaning), " "))))
	}
	t.write(w, c.outStyled)
}

var sentenceEnd = regexp.MustCompile(`\. +\p{Lu}`)

// firstSentence ends where the next sentence begins with a capital, not behind "e.g.".
func firstSentence(text string) string {
	if end := sentenceEnd.FindStringIndex(text); end != nil {
		return text[:end[0]]
	}
	return text
}
