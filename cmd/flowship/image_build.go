package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle/oci"
)

type imageBuildOptions struct {
	base, bundle, name string
	platforms          []string
	executors          []string
	push, load         bool
	tar, layout        string
}

func newImageBuildCommand(c *console) *cobra.Command {
	opts := &imageBuildOptions{}
	cmd := &cobra.Command{
		Use:   "build --base IMAGE [--bundle REF] -t NAME (--push | --load | --to-tar FILE | --to-layout DIR)",
		Short: "Make an image of a base, the executor and a bundle",
		Long: `Build puts the executor onto a base, as /usr/local/bin/flowship: an image for jobs that
fetch their bundle. Entry point and environment stay the base's.

With --bundle the image holds the bundle as well, in /flowship/store, and running it runs
the bundle: the entry point names the digest of the document, so that the image's digest
pins all that runs. Files are extracted to /flowship/work; the record of the run is left in
/flowship/store/results, or where --result-url behind the image's name says.

The base is an image in a registry, a directory with an OCI layout, a file of docker save,
or scratch. Layers that the registry has already are not sent, nor read.

The executor is, per platform, the one of --executor; else flowship-executor-OS-ARCH beside
this program; else what go builds of this version of flowship; else this program itself.
The first three are mostly the slim executor, which knows folders, registries and signed
URLs, and reports to a Prefect server: jobs with credentials for a store, of their own or
of a block, need flowship itself, by --executor.

It prints the name with the digest. JSON: {"name", "digest", "platforms", "size",
"bundle"}; size is in bytes, bundle the digest of the document or null.`,
		Example: `  flowship image build --base python:3.13-slim -t ghcr.io/acme/runner:1 --push
  flowship image build --base scratch --bundle dist -t train:1 --load
  flowship image build --base alpine:3 --bundle oci://ghcr.io/acme/train:1 \
      --platform linux/amd64,linux/arm64 -t ghcr.io/acme/train-image:1 --push`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runImageBuild(cmd.Context(), c, opts)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.base, "base", "", "`IMAGE`, layout, file or scratch that the layers are put onto")
	flags.StringVar(&opts.bundle, "bundle", "", "`REF` of the bundle that the image shall run")
	flags.StringSliceVar(&opts.platforms, "platform", nil, "`OS/ARCH` to make the image for, also several (default: the base's, or this machine's)")
	flags.StringVarP(&opts.name, "tag", "t", "", "`NAME` of the image")
	flags.BoolVar(&opts.push, "push", false, "bring it into the registry that its name says")
	flags.BoolVar(&opts.load, "load", false, "bring it into the container engine of the docker command")
	flags.StringVar(&opts.tar, "to-tar", "", "write it to `FILE` as docker save does")
	flags.StringVar(&opts.layout, "to-layout", "", "write it to `DIR` as an OCI layout")
	flags.StringArrayVar(&opts.executors, "executor", nil, "`FILE` of the executor, one for each architecture")
	return cmd
}

// check reads the flags.
func (o *imageBuildOptions) check() (platforms []oci.Platform, err error) {
	for _, flag := range []struct{ name, value string }{{"base", o.base}, {"tag", o.name}} {
		if flag.value == "" {
			return nil, usagef("", "missing --%s", flag.name)
		}
	}
	places := 0
	for _, given := range []bool{o.push, o.load, o.tar != "", o.layout != ""} {
		if given {
			places++
		}
	}
	if places != 1 {
		return nil, usagef("", "say where the image shall go: one of --push, --load, --to-tar and --to-layout")
	}
	for _, text := range o.platforms {
		p, err := oci.ParsePlatform(text)
		if err != nil {
			return nil, err
		}
		platforms = append(platforms, p)
	}
	return platforms, nil
}

func runImageBuild(ctx context.Context, c *console, opts *imageBuildOptions) error {
	platforms, err := opts.check()
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "flowship-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	find := &oci.Executors{Given: opts.executors, Dir: scratch, Tell: func(p oci.Platform, path, origin string) {
		c.note("executor for %s: %s (%s)", p, shown(path), origin)
	}}
	build := &oci.BuildOptions{Base: opts.base, Platforms: platforms, Executor: find.Find, Scratch: scratch}
	digest := ""
	if opts.bundle != "" {
		b, err := c.openBundle(ctx, opts.bundle)
		if err != nil {
			return aboutRegistry(err)
		}
		defer b.close()
		build.Bundle, digest = b.Bundle, b.Digest.String()
	}
	img, err := oci.Build(ctx, build)
	if err != nil {
		return aboutImage(err)
	}
	defer img.Close()
	if err := opts.send(ctx, c, img); err != nil {
		return aboutImage(err)
	}
	return c.printImage(img, opts.name, digest)
}

// send brings the image where the flags say.
func (o *imageBuildOptions) send(ctx context.Context, c *console, img *oci.Image) error {
	switch {
	case o.push:
		p := c.startProgress("pushing", img.Size())
		defer p.stop()
		return img.Push(ctx, o.name, &oci.RegistryOptions{Progress: p.add})
	case o.load:
		host, certs, err := dockerEndpoint()
		if err != nil {
			return err
		}
		return img.Load(ctx, o.name, &oci.LoadOptions{Host: host, Certs: certs})
	case o.tar != "":
		return img.WriteTar(ctx, o.tar, o.name)
	}
	return img.WriteLayout(ctx, o.layout, o.name)
}

// note prints a line about what was chosen, unless the user asked for quiet.
func (c *console) note(format string, args ...any) {
	if !c.quiet {
		fmt.Fprintln(c.err, paint(c.errStyled, dim, fmt.Sprintf(format, args...)))
	}
}
