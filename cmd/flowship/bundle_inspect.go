package main

import (
	"bufio"
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/ignore"
)

func newInspectCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect REF",
		Short: "Show what a bundle calls and holds",
		Long: `Inspect shows what a bundle says of itself. It reads, and verifies nothing; see
bundle verify. Nothing in the bundle is run or unpickled. Its JSON is that of bundle build.`,
		Example: `  flowship bundle inspect dist
  flowship bundle inspect dist -o json | jq -r '.files[].path'`,
		Args: arguments("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInspect(cmd.Context(), c, args[0])
		},
	}
}

func runInspect(ctx context.Context, c *console, ref string) error {
	b, err := openBundle(ctx, ref)
	if err != nil {
		return err
	}
	defer b.close()
	r, err := inspect(ctx, b)
	if err != nil {
		return err
	}
	if c.json {
		return c.writeJSON(r.writeJSON)
	}
	return c.print(func(w *bufio.Writer) { r.writeText(w, c.outStyled, true) })
}

func inspect(ctx context.Context, b *found) (*report, error) {
	m, err := b.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	r := &report{document: b.document, digest: b.Digest, manifest: m, archiveSize: new(int64)}
	if d := b.Document; d != nil {
		r.runtime = bundle.RuntimePython // of documents that Prefect made
		if f := d.Flowship; f != nil {
			r.runtime, r.entrypoint, r.command = f.Runtime, f.Entrypoint, f.Command
		}
	}
	if b.ArchivePath != "" {
		info, err := os.Stat(b.ArchivePath)
		if err != nil {
			return nil, pathError(b.ArchivePath, err)
		}
		*r.archiveSize = info.Size()
	}
	for i := range m.Entries {
		if rule, ok := ignore.Sensitive(m.Entries[i].Path); ok {
			r.sensitive = append(r.sensitive, bundle.Sensitive{Path: m.Entries[i].Path, Rule: rule})
		}
	}
	return r, nil
}
