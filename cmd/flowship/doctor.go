package main

import (
	"bufio"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
)

func newDoctorCommand(c *console) *cobra.Command {
	opts := &submit.ExamineOptions{}
	cmd := &cobra.Command{
		Use:   "doctor [--pool NAME | --url URL]",
		Short: "Look for what is in the way of running something",
		Long: `Doctor checks whether the home can be written to, the database opens, and the store of
the work pool can be written to and read, with which credentials; whether the container
engine or cluster of the work pool answers; whether this machine's clock is right; and
which Python, uv and go there are. It stores a small object and deletes it again. It exits 5 when something failed; a warning is about
what only some flows need.

JSON: [{"check", "status", "result", "what_to_do"}]; a status is ok, warning or
failed.`,
		Example: `  flowship doctor
  flowship doctor --url s3://acme-bundles`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.Pool != "" && opts.URL != "" {
				return usagef("", "both --pool and --url")
			}
			return runDoctor(cmd.Context(), c, opts)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.Pool, "pool", "", "`NAME` of the work pool (default: the default one, else local)")
	flags.StringVar(&opts.URL, "url", "", "`URL` of the store to look at in place of the pool's")
	return cmd
}

func runDoctor(ctx context.Context, c *console, opts *submit.ExamineOptions) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	findings := client.Examine(ctx, opts)
	if c.json {
		err = c.writeJSON(func(j *jsonWriter) {
			j.list(func() {
				for _, f := range findings {
					j.element(f)
				}
			})
		})
	} else {
		err = c.print(func(w *bufio.Writer) { printFindings(w, c.outStyled, findings) })
	}
	if err == nil && slices.ContainsFunc(findings, func(f submit.Finding) bool { return f.Status == submit.FindingFailed }) {
		return exitStatus(exitUnavailable)
	}
	return err
}

func printFindings(w *bufio.Writer, styled bool, findings []submit.Finding) {
	t := &table{head: []string{"CHECK", "STATUS", "RESULT", "WHAT TO DO"}}
	styles := map[submit.FindingStatus]style{submit.FindingOK: green, submit.FindingWarning: yellow, submit.FindingFailed: red}
	for _, f := range findings {
		t.add(text(f.Check), cell{string(f.Status), styles[f.Status]}, text(shown(f.Result)), text(shown(f.Do)))
	}
	t.write(w, styled)
}
