package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
)

type digestOptions struct {
	selection
	noCache bool
}

func newDigestCommand(c *console) *cobra.Command {
	opts := &digestOptions{}
	cmd := &cobra.Command{
		Use:         "digest [ENTRYPOINT] --include PATTERN... [-- COMMAND...]",
		Short:       "Print the digest of the files alone: fast, for CI",
		Annotations: map[string]string{packing: ""},
		Long: `Digest prints the 64 hexadecimal digits that name the sidecar of these files:
files/<digest>.zip is the key under which Prefect, too, stores them. Nothing is
packed. What the file system says of each file is remembered, so that an unchanged
tree is not read again.

JSON: {"digest", "files_key", "file_count", "total_size"}; the first two are null
where there are no files, which in text is an error.`,
		Example: `  flowship bundle digest --include src/ --include '!src/fixtures/'
  flowship bundle digest flows/etl.py:main -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := opts.target(cmd, args)
			if err != nil {
				return err
			}
			return runDigest(cmd.Context(), c, opts, t)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	opts.selection.register(flags)
	registerNoCache(flags, &opts.noCache)
	return cmd
}

func runDigest(ctx context.Context, c *console, opts *digestOptions, t *target) error {
	if len(opts.include) == 0 && t.collect.Entrypoint == "" {
		return usagef("name files with --include; --include . takes the whole directory", "no files to make a digest of")
	}
	files, err := bundle.Collect(ctx, t.base, opts.include, t.collect)
	if err != nil {
		return err
	}
	c.warnCollected(files)
	m, err := hash(ctx, c, files, opts.noCache)
	if err != nil {
		return err
	}
	if c.json {
		return c.writeJSON(func(j *jsonWriter) {
			j.object(func() {
				j.member("digest", m.Digest.String())
				j.member("files_key", orNull(m.FilesKey()))
				j.member("file_count", len(m.Entries))
				j.member("total_size", m.TotalSize())
			})
		})
	}
	return c.print(func(w *bufio.Writer) { fmt.Fprintln(w, m.Digest.Hex()) })
}

func hash(ctx context.Context, c *console, files *bundle.Collection, noCache bool) (*bundle.Manifest, error) {
	p := c.startProgress("hashing", files.TotalSize())
	defer p.stop()
	return bundle.Hash(ctx, files, &bundle.HashOptions{Cache: statCache(noCache), Progress: p.add})
}
