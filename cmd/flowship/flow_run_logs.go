package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

type flowRunLogsOptions struct {
	follow bool
	level  string
}

func newFlowRunLogsCommand(c *console) *cobra.Command {
	opts := &flowRunLogsOptions{}
	cmd := &cobra.Command{
		Use:   "logs ID [-f] [--level LEVEL]",
		Short: "Print the log of a flow run",
		Long: `Logs prints what a flow run logged, and what it printed, in the order of time. With
-f it goes on until the run has ended.

JSON: [{"timestamp", "level", "name", "message"}], with -f one object a line. Levels
are numbers: 10 debug, 20 info, 30 warning, 40 error. Names are flowship.flow for
the flow's own logger, flowship.stdout, flowship.stderr, and flowship.worker.`,
		Example: `  flowship flow-run logs -f bold-otter
  flowship flow-run logs 289ed969 --level warning`,
		Args: arguments("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFlowRunLogs(cmd.Context(), c, opts, args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&opts.follow, "follow", "f", false, "go on until the run has ended")
	flags.StringVar(&opts.level, "level", "", "leave out what is below the `LEVEL`: debug, info, warning, error or a number")
	return cmd
}

// levels are the names of levels, in order; a level between two of them goes by the lower one.
var levels = [...]struct {
	least       int
	name, short string
	style       style
}{
	{10, "debug", "DEBUG", dim},
	{20, "info", "INFO", plain},
	{30, "warning", "WARN", yellow},
	{40, "error", "ERROR", red},
	{50, "critical", "CRIT", red},
}

func (o *flowRunLogsOptions) minLevel() (int, error) {
	if o.level == "" {
		return 0, nil
	}
	for _, l := range levels {
		if strings.EqualFold(o.level, l.name) || strings.EqualFold(o.level, l.short) {
			return l.least, nil
		}
	}
	n, err := strconv.Atoi(o.level)
	if err != nil || n < 0 {
		return 0, usagef("the levels are debug, info, warning, error, critical and numbers", "unknown level %q", o.level)
	}
	return n, nil
}

type logJSON struct {
	Timestamp time.Time `json:"timestamp"`
	Level     int       `json:"level"`
	Name      string    `json:"name"`
	Message   string    `json:"message"`
}

func runFlowRunLogs(ctx context.Context, c *console, opts *flowRunLogsOptions, ref string) error {
	level, err := opts.minLevel()
	if err != nil {
		return err
	}
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	logs := client.Logs(ctx, ref, &submit.LogsOptions{Follow: opts.follow, MinLevel: level})
	write, end := c.logWriter(opts.follow)
	for l, err := range logs {
		if err != nil {
			return aboutFlowRun(err)
		}
		if err := write(l); err != nil {
			return err
		}
	}
	return end()
}

// logWriter returns what prints a line, and what is to be called at the end.
func (c *console) logWriter(follow bool) (write func(orchestrator.Log) error, end func() error) {
	w := bufio.NewWriterSize(c.out, 1<<16)
	j := &jsonWriter{w: w}
	return func(l orchestrator.Log) error {
			switch object := (logJSON{l.Timestamp, l.Level, l.Name, l.Message}); {
			case c.json && follow:
				j.value(object)
				w.WriteByte('\n')
			case c.json && !j.more:
				w.WriteByte('[')
				j.depth = 1
				fallthrough
			case c.json:
				j.element(object)
			default:
				writeLog(w, c.outStyled, l)
			}
			if follow { // it is to be seen now
				return flushResult(w, j.err)
			}
			return j.err
		}, func() error {
			switch {
			case c.json && !follow && j.more:
				w.WriteString("\n]\n")
			case c.json && !follow:
				w.WriteString("[]\n")
			}
			return flushResult(w, j.err)
		}
}

func flushResult(w *bufio.Writer, err error) error {
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// writeLog prints a line of a log; further lines of its message stand below the first.
func writeLog(w *bufio.Writer, styled bool, l orchestrator.Log) {
	level := levels[0]
	for _, known := range levels {
		if l.Level >= known.least {
			level = known
		}
	}
	const clock = "15:04:05.000"
	head := fmt.Sprintf("%s  %s  ", paint(styled, dim, l.Timestamp.Local().Format(clock)), paint(styled, level.style, fmt.Sprintf("%-5s", level.short)))
	for line := range strings.SplitSeq(strings.TrimRight(l.Message, "\r\n"), "\n") {
		w.WriteString(head)
		line = escapeControls(strings.TrimSuffix(line, "\r"))
		if level.least >= 40 {
			line = paint(styled, level.style, line)
		}
		w.WriteString(line)
		w.WriteByte('\n')
		head = strings.Repeat(" ", len(clock)+len("  ERROR  "))
	}
}

// escapeControls writes what could change the state of a terminal as Go does in a string.
func escapeControls(line string) string {
	harmless := func(r rune) bool {
		return r == '\t' || unicode.IsPrint(r) || unicode.IsSpace(r) && !unicode.IsControl(r)
	}
	if !strings.ContainsFunc(line, func(r rune) bool { return !harmless(r) }) {
		return strings.ToValidUTF8(line, "\ufffd")
	}
	var b strings.Builder
	for _, r := range line {
		if harmless(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
