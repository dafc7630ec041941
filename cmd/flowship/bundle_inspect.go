package main

import (
	"bufio"
	"context"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/ignore"
	"github.com/flowship/flowship/submit"
)

func newInspectCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect REF",
		Short: "Show what a bundle calls and holds",
		Long: `Inspect shows what a bundle says of itself. It reads, and verifies nothing; see
bundle verify. Nothing in the bundle is run or unpickled. Of one in a store only the
document is read or, of a sidecar alone, the table of contents; what its files hash
to is not known then.

JSON: as of bundle build; a "sha256" that is not known is null.`,
		Example: `  flowship bundle inspect dist
  flowship bundle inspect dist -o json | jq -r '.files[].path'
  flowship bundle inspect s3://acme-bundles/289ed969-66db-4edd-8e9d-36cf0a2ca6ca`,
		Args: arguments("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runInspect(cmd.Context(), c, args[0])
		},
	}
}

func runInspect(ctx context.Context, c *console, ref string) error {
	contents, err := c.readContents(ctx, ref)
	if err != nil {
		return err
	}
	r := inspect(contents)
	if c.json {
		return c.writeJSON(r.writeJSON)
	}
	return c.print(func(w *bufio.Writer) { r.writeText(w, c.outStyled, true) })
}

func inspect(b *submit.Contents) *report {
	r := &report{document: b.Where, digest: b.Digest, manifest: b.Manifest, archiveSize: &b.ArchiveSize}
	if d := b.Document; d != nil {
		r.runtime = bundle.RuntimePython // of documents that Prefect made
		if f := d.Flowship; f != nil {
			r.runtime, r.entrypoint, r.command = f.Runtime, f.Entrypoint, f.Command
		}
	}
	for i := range r.manifest.Entries {
		if rule, ok := ignore.Sensitive(r.manifest.Entries[i].Path); ok {
			r.sensitive = append(r.sensitive, bundle.Sensitive{Path: r.manifest.Entries[i].Path, Rule: rule})
		}
	}
	return r
}
