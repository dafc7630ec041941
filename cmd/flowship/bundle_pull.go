package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
)

func newPullCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "pull REF DIR",
		Short: "Fetch a bundle from a store or a registry",
		Long: `Pull fetches a bundle, verifies all of it and puts it into DIR, as bundle build would
have written it. DIR must be empty or not be there; nothing appears in it when
anything is wrong.

JSON: {"bundle", "digest", "files_key", "file_count", "total_size"}.`,
		Example: `  flowship bundle pull s3://acme-bundles/289ed969-66db-4edd-8e9d-36cf0a2ca6ca dist
  flowship bundle pull oci://ghcr.io/acme/train:1 dist`,
		Args: arguments("REF", "DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPull(cmd.Context(), c, args[0], args[1])
		},
	}
}

func runPull(ctx context.Context, c *console, ref, dir string) error {
	b, err := pullBundle(ctx, c, ref, dir)
	if err != nil {
		return err
	}
	m, err := b.Manifest(ctx)
	if err != nil {
		return err
	}
	if !c.json {
		return c.print(func(w *bufio.Writer) {
			fmt.Fprintf(w, "%s, %s pulled to %s\n", count(len(m.Entries), "file"), humanSize(m.TotalSize()), shown(dir))
		})
	}
	return c.writeJSON(func(j *jsonWriter) {
		j.object(func() {
			j.member("bundle", b.DocumentPath)
			j.member("digest", b.Digest.String())
			j.member("files_key", orNull(b.Document.FilesKey))
			j.member("file_count", len(m.Entries))
			j.member("total_size", m.TotalSize())
		})
	})
}

func pullBundle(ctx context.Context, c *console, ref, dir string) (*bundle.Bundle, error) {
	if oci.IsReference(ref) {
		return pullFromRegistry(ctx, c, ref, dir)
	}
	client, err := c.openClient(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	b, err := client.Pull(ctx, ref, dir, c.transfer())
	if err != nil {
		return nil, aboutTransfer(err)
	}
	return b, nil
}
