package main

import (
	"bufio"
	"errors"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
)

func newImageCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Make container images with the executor, and a bundle if asked",
		Long: `Images are made here, without a container engine: of a base, a layer with flowship's
executor and, if asked, a layer with a bundle. The same inputs give the same digest.`,
	}
	group(cmd)
	cmd.AddCommand(newImageBuildCommand(c), newImagePushCommand(c))
	return cmd
}

// printImage prints what became of an image; digest is of the bundle in it, or "".
func (c *console) printImage(img *oci.Image, name, digest string) error {
	if !c.json {
		return c.print(func(w *bufio.Writer) { w.WriteString(name + "@" + img.Digest() + "\n") })
	}
	var platforms []string
	for _, p := range img.Platforms() {
		platforms = append(platforms, p.String())
	}
	return c.writeJSON(func(j *jsonWriter) {
		j.object(func() {
			j.member("name", name)
			j.member("digest", img.Digest())
			j.member("platforms", platforms)
			j.member("size", img.Size())
			j.member("bundle", orNull(digest))
		})
	})
}

// aboutRegistry gives errors of registries and container engines their hints.
func aboutRegistry(err error) error {
	switch {
	case errors.Is(err, oci.ErrUnauthorized):
		return &hinted{err: err, hint: "log in first: docker login REGISTRY, or what else writes ~/.docker/config.json"}
	case errors.Is(err, oci.ErrNotFound):
		return &hinted{err: err, hint: "look at the spelling of registry, name and tag; some registries say so as well to who is not logged in"}
	case errors.Is(err, oci.ErrUnavailable):
		return &hinted{err: err, hint: "look at the name of the registry and at the network; DOCKER_HOST says where the container engine is"}
	}
	return err
}

// aboutImage does so for what an image is made of.
func aboutImage(err error) error {
	if errors.Is(err, oci.ErrNoExecutor) {
		return &hinted{err: err, kind: kind(bundle.KindNotFound), hint: "build one where flowship's source is, and name it: CGO_ENABLED=0 GOOS=linux go build ./cmd/flowship-executor; --executor FILE"}
	}
	switch bundle.KindOf(err) {
	case bundle.KindNotFound:
		return &hinted{err: err, hint: "an image is one in a registry, a directory with an OCI layout, a file of docker save or, as a base, scratch"}
	case bundle.KindRefused:
		return &hinted{err: err} // it says all
	}
	return aboutRegistry(err)
}
