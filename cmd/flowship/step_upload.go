package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit"
)

type stepUploadOptions struct {
	url, key string
}

func newStepUploadCommand(c *console) *cobra.Command {
	opts := &stepUploadOptions{}
	cmd := &cobra.Command{
		Use:   "upload --url URL --key KEY FILE",
		Short: "Store a document, a sidecar or a program",
		Long: `Upload stores FILE under KEY. A sidecar (files/….zip) or a program (programs/…) that
is there already is not sent again; a document replaces what is there.`,
		Example: `  flowship step upload --url file:///var/lib/bundles --key 0b3c… dist/bundle.json`,
		Args:    arguments("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runStepUpload(cmd.Context(), opts, args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.url, "url", "", "`URL` of the store")
	flags.StringVar(&opts.key, "key", "", "`KEY` of the object in the store")
	return cmd
}

func runStepUpload(ctx context.Context, opts *stepUploadOptions, file string) error {
	for _, flag := range []struct{ name, value string }{{"url", opts.url}, {"key", opts.key}} {
		if flag.value == "" {
			return usagef("", "missing --%s", flag.name)
		}
	}
	_, err := submit.Upload(ctx, submit.UploadStep{URL: opts.url, Key: opts.key, File: file, Storage: &storage.OpenOptions{Openers: openers()}})
	if err != nil {
		return unavailable(err)
	}
	return nil
}
