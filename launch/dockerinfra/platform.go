package dockerinfra

import (
	"context"
	"io"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
)

var _ launch.PlatformDriver = (*Driver)(nil)

// Platform implements [launch.PlatformDriver]: that of container_create_kwargs, else that of the
// image, if the engine has it, else the engine's own.
func (d *Driver) Platform(ctx context.Context, configured map[string]any) (launch.Platform, error) {
	job := &launch.Job{Configuration: configured}
	var c configuration
	if err := job.Configure(&c); err != nil {
		return launch.Platform{}, err
	}
	p := &plan{job: job, request: &request{}}
	if err := p.request.apply(c.ContainerCreateKwargs, io.Discard); err != nil {
		return launch.Platform{}, err
	}
	if at := p.request.platform; at != nil {
		return launch.Platform{OS: at.OS, Arch: at.Architecture}, nil
	}
	if err := p.chooseImage(&c, d.opts.Image); err != nil {
		return launch.Platform{}, err
	}
	e, err := d.connect()
	if err != nil {
		return launch.Platform{}, err
	}
	if _, err := e.agree(ctx); err != nil {
		return launch.Platform{}, err
	}
	image, err := e.api.ImageInspect(ctx, p.image.text)
	switch {
	case err == nil && image.Os != "" && image.Architecture != "":
		return launch.Platform{OS: image.Os, Arch: image.Architecture}, nil
	case err != nil && !errdefs.IsNotFound(err):
		return launch.Platform{}, e.because(ctx, err)
	}
	server, err := e.api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return launch.Platform{}, e.because(ctx, err)
	}
	return launch.Platform{OS: server.Os, Arch: server.Arch}, nil
}
