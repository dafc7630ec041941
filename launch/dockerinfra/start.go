package dockerinfra

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
)

// settle is how long a request may take that is not given up half-way, since nobody would know
// what became of it.
const settle = time.Minute

// Start implements [launch.Driver]. What it pulls is noted on the job's standard error.
func (d *Driver) Start(ctx context.Context, job *launch.Job) (string, error) {
	p, err := d.plan(job)
	if err != nil {
		return "", err
	}
	e, err := d.connect()
	if err != nil {
		return "", err
	}
	version, err := e.agree(ctx)
	if err != nil {
		return "", err
	}
	o, err := d.own(e)
	if err != nil {
		return "", err
	}
	p.address(version)
	p.proxies(e.host)
	p.request.config.Labels[LabelOwner] = o.name
	p.request.config.Labels[LabelJob] = strings.ToLower(rand.Text())
	if err := p.fetch(ctx, e); err != nil {
		return "", err
	}
	cid, files, err := p.make(ctx, e)
	if err == nil {
		err = p.begin(ctx, e, cid, files)
	}
	if err != nil {
		return "", errors.Join(err, p.undo(ctx, e, cid))
	}
	j := &record{engine: e, take: job.Take, keep: p.keep, started: true}
	if p.stream {
		j.logs = newLogs(job.Stdout, job.Stderr, p.request.config.Tty)
	}
	d.jobs.Add(cid, j)
	if err := d.jobs.Begin(cid); err != nil { // the driver was closed
		return "", errors.Join(err, p.undo(ctx, e, cid))
	}
	return e.base + ":" + cid, nil
}

// because is the cause of ctx, if it has ended, or else what the engine says.
func (e *engine) because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return e.fault(err)
}

// create makes the container, with another name where it has to, after pulling where it has to.
func (p *plan) create(ctx context.Context, e *engine) (string, error) {
	r := p.request
	opts := client.ContainerCreateOptions{Config: &r.config, HostConfig: &r.host, Platform: r.platform, Name: p.name}
	if len(r.networks) > 0 {
		opts.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: r.networks}
	}
	pulled := false
	for n := 1; ; n++ {
		created, err := e.createOnce(ctx, opts)
		switch {
		case err == nil:
			for _, warning := range created.Warnings {
				fmt.Fprintf(p.notes, "docker: %s\n", warning)
			}
			return created.ID, nil
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case errdefs.IsConflict(err) && opts.Name != "" && strings.Contains(err.Error(), "name"):
			opts.Name = fmt.Sprintf("%s-%d", p.name, n)
		case errdefs.IsNotFound(err) && !pulled && strings.Contains(strings.ToLower(err.Error()), "image"):
			if err := p.missing(ctx, e); err != nil {
				return "", err
			}
			pulled = true
		default:
			return "", e.fault(err)
		}
	}
}

// createOnce does not end with ctx: the engine would make the container all the same.
func (e *engine) createOnce(ctx context.Context, opts client.ContainerCreateOptions) (client.ContainerCreateResult, error) {
	if ctx.Err() != nil {
		return client.ContainerCreateResult{}, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer cancel()
	return e.api.ContainerCreate(ctx, opts)
}

// begin does what is left between a container's creation and a job.
func (p *plan) begin(ctx context.Context, e *engine, cid string, files []launch.File) error {
	for _, n := range p.networks {
		if _, err := e.api.NetworkConnect(ctx, n, client.NetworkConnectOptions{Container: cid}); err != nil {
			return fmt.Errorf("connect the network %q: %w", n, e.because(ctx, err))
		}
	}
	if err := e.give(ctx, cid, files, p.job.Take); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if p.job.Known != nil {
		p.job.Known(e.base + ":" + cid)
	}
	settled, cancel := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer cancel()
	if _, err := e.api.ContainerStart(settled, cid, client.ContainerStartOptions{}); err != nil {
		return e.because(ctx, err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// undo removes the container of a job that did not start. Where nobody knows whether there is
// one, it is found by its label.
func (p *plan) undo(ctx context.Context, e *engine, cid string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer cancel()
	ids := []string{cid}
	if cid == "" {
		ids = nil
		label := LabelJob + "=" + p.request.config.Labels[LabelJob]
		list, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", label)})
		if err != nil {
			return nil // there is an error already, and the next sweep finds it
		}
		for _, c := range list.Items {
			ids = append(ids, c.ID)
		}
	}
	for _, id := range ids {
		if err := e.remove(ctx, id); err != nil {
			return fmt.Errorf("the container %.12s is left behind: %w", id, err)
		}
	}
	return nil
}

// remove removes a container and its anonymous volumes, unless somebody else does.
func (e *engine) remove(ctx context.Context, cid string) error {
	ctx, cancel := context.WithTimeout(ctx, settle)
	defer cancel()
	_, err := e.api.ContainerRemove(ctx, cid, client.ContainerRemoveOptions{RemoveVolumes: true, Force: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil
	}
	return e.fault(err)
}
