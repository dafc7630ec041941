package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit"
)

func newDiffCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "diff REF REF",
		Short: "Show which files differ between two bundles",
		Long: `Diff compares the files of two bundles by path, permissions, size and content. It
exits 1 when they differ, 0 when they do not.

JSON: {"added": [{"path", "size", "mode", "sha256"}], "removed": the same,
"changed": [{"path", "from": {"size", "mode", "sha256"}, "to": the same}]}.`,
		Example: `  flowship bundle diff yesterday today`,
		Args:    arguments("REF", "REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDiff(cmd.Context(), c, args[0], args[1])
		},
	}
}

type entryJSON struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Mode   string `json:"mode"`
	SHA256 any    `json:"sha256"` // null when it is not known
}

// stateJSON is a changed file on one side; its path stands beside.
type stateJSON struct {
	Size   int64  `json:"size"`
	Mode   string `json:"mode"`
	SHA256 any    `json:"sha256"` // null when it is not known
}

type changeJSON struct {
	Path string    `json:"path"`
	From stateJSON `json:"from"`
	To   stateJSON `json:"to"`
}

func stateOf(e bundle.Entry) stateJSON {
	return stateJSON{Size: e.Size, Mode: e.Mode.String(), SHA256: digestOrNull(e.SHA256)}
}

func runDiff(ctx context.Context, c *console, from, to string) error {
	d, err := c.diff(ctx, from, to)
	if err != nil {
		return err
	}
	if c.json {
		err = c.writeJSON(func(j *jsonWriter) { writeDifference(j, d) })
	} else {
		err = c.print(func(w *bufio.Writer) { printDifference(w, c.outStyled, d) })
	}
	if err != nil || d.Empty() {
		return err
	}
	return exitStatus(exitDifferent)
}

func (c *console) diff(ctx context.Context, from, to string) (*bundle.Difference, error) {
	local, remove, err := onDisk(ctx, from, to)
	if err != nil {
		return nil, err
	}
	defer remove()
	from, to = local[0], local[1]
	client, err := c.openClient(ctx)
	if err != nil {
		return submit.DiffPaths(ctx, from, to) // without a home there may be files
	}
	defer client.Close()
	return client.Diff(ctx, from, to)
}

func writeDifference(j *jsonWriter, d *bundle.Difference) {
	entries := func(list []bundle.Entry) func() {
		return func() {
			for _, e := range list {
				j.element(entryJSON{Path: e.Path, Size: e.Size, Mode: e.Mode.String(), SHA256: digestOrNull(e.SHA256)})
			}
		}
	}
	j.object(func() {
		j.key("added")
		j.list(entries(d.Added))
		j.key("removed")
		j.list(entries(d.Removed))
		j.key("changed")
		j.list(func() {
			for _, x := range d.Changed {
				j.element(changeJSON{Path: x.Path, From: stateOf(x.From), To: stateOf(x.To)})
			}
		})
	})
}

func printDifference(w *bufio.Writer, styled bool, d *bundle.Difference) {
	line := func(s style, mark, path, detail string) {
		fmt.Fprintf(w, "%s %s  %s\n", paint(styled, s, mark), shown(path), paint(styled, dim, detail))
	}
	for _, e := range d.Added {
		line(green, "+", e.Path, humanSize(e.Size))
	}
	for _, e := range d.Removed {
		line(red, "-", e.Path, humanSize(e.Size))
	}
	for _, x := range d.Changed {
		line(yellow, "~", x.Path, changed(x))
	}
}

// changed says in words what is not the same.
func changed(x bundle.Change) string {
	var parts []string
	if x.From.Mode != x.To.Mode {
		parts = append(parts, fmt.Sprintf("mode %s → %s", x.From.Mode, x.To.Mode))
	}
	switch {
	case x.From.Size != x.To.Size:
		parts = append(parts, fmt.Sprintf("%s → %s", humanSize(x.From.Size), humanSize(x.To.Size)))
	case x.From.SHA256 != x.To.SHA256:
		parts = append(parts, fmt.Sprintf("other content, still %s", humanSize(x.From.Size)))
	}
	return strings.Join(parts, ", ")
}
