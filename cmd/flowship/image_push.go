package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle/oci"
)

func newImagePushCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "push FILE|DIR NAME",
		Short: "Bring an image on the disk into a registry",
		Long: `Push brings the image in a file of docker save, or all platforms of the one in an OCI
layout, into a registry. Layers that the registry has already are not sent.

It prints the name with the digest. JSON: as of image build, with bundle null.`,
		Example: `  flowship image push train.tar ghcr.io/acme/train:1`,
		Args:    arguments("FILE|DIR", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runImagePush(cmd.Context(), c, args[0], args[1])
		},
	}
}

func runImagePush(ctx context.Context, c *console, path, name string) error {
	img, err := oci.Open(ctx, path)
	if err != nil {
		return aboutImage(err)
	}
	defer img.Close()
	p := c.startProgress("pushing", img.Size())
	defer p.stop()
	if err := img.Push(ctx, name, &oci.RegistryOptions{Progress: p.add}); err != nil {
		return aboutRegistry(err)
	}
	return c.printImage(img, name, "")
}
