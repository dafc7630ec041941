package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
)

type extractOptions struct {
	to     string
	digest string
}

func newExtractCommand(c *console) *cobra.Command {
	opts := &extractOptions{}
	cmd := &cobra.Command{
		Use:   "extract REF --to DIR",
		Short: "Put a bundle's files into a directory",
		Long: `Extract verifies the whole bundle, then puts its files below DIR with their
permissions. Nothing appears there when anything is wrong. Files that exist are
overwritten, with a warning.

JSON: {"dir", "file_count", "total_size"}.`,
		Example: `  flowship bundle extract dist --to /srv/flow`,
		Args:    arguments("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runExtract(cmd.Context(), c, opts, args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.to, "to", "", "`DIR` to extract to, made if need be")
	flags.StringVar(&opts.digest, "digest", "", "what the document (or a sidecar alone) must hash to: `sha256:…`")
	return cmd
}

func runExtract(ctx context.Context, c *console, opts *extractOptions, ref string) error {
	if opts.to == "" {
		return usagef("", "missing --to DIR")
	}
	var digest bundle.Digest
	switch {
	case isZeroDigest(opts.digest):
		return &bundle.Error{Kind: bundle.KindTampered, Path: ref, Reason: "nothing has the digest " + opts.digest}
	case opts.digest != "":
		var err error
		if digest, err = bundle.ParseDigest(opts.digest); err != nil {
			return &usageError{err: err}
		}
	}
	b, err := c.openBundle(ctx, ref)
	if err != nil {
		return err
	}
	defer b.close()
	m, err := extract(ctx, c, b, opts.to, digest)
	if err != nil {
		return err
	}
	if c.json {
		return c.writeJSON(func(j *jsonWriter) {
			j.object(func() {
				j.member("dir", opts.to)
				j.member("file_count", len(m.Entries))
				j.member("total_size", m.TotalSize())
			})
		})
	}
	return c.print(func(w *bufio.Writer) {
		fmt.Fprintf(w, "%s, %s extracted to %s\n", count(len(m.Entries), "file"), humanSize(m.TotalSize()), shown(opts.to))
	})
}

func extract(ctx context.Context, c *console, b *found, dir string, digest bundle.Digest) (*bundle.Manifest, error) {
	p := c.startProgress("extracting", b.size())
	defer p.stop()
	return b.Extract(ctx, dir, &bundle.ExtractOptions{
		Digest:   digest,
		Progress: p.add,
		Warn:     func(text string) { c.warn("%s", shown(text)) },
	})
}
