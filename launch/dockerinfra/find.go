package dockerinfra

import (
	"context"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
)

// Find implements [launch.Driver]. Containers that other programs started, Prefect's worker among
// them, are found as well. What is wanted of one of those counts from now on: whoever waited for it
// through this driver before waits for its end alone.
func (d *Driver) Find(ctx context.Context, id string, opts *launch.FindOptions) (ended bool, err error) {
	e, cid, err := d.container(id)
	if err != nil {
		return false, err
	}
	if known, ok := d.jobs.Job(cid); ok && !known.found {
		return d.jobs.Ended(cid), nil
	}
	j, ended, err := d.lookUp(ctx, e, cid, opts)
	if err == nil && opts.Wants() {
		d.jobs.Replace(cid, j)
	}
	return ended, err
}

// lookUp makes the record of a container that this driver did not make.
func (d *Driver) lookUp(ctx context.Context, e *engine, cid string, opts *launch.FindOptions) (j *record, ended bool, err error) {
	ctx, cancel := e.patiently(ctx, 0)
	defer cancel()
	r, err := e.api.ContainerInspect(ctx, cid, client.ContainerInspectOptions{})
	switch {
	case errdefs.IsNotFound(err):
		return nil, false, launch.ErrNotFound
	case ctx.Err() != nil:
		return nil, false, context.Cause(ctx)
	case err != nil:
		return nil, false, e.fault(err)
	}
	config := r.Container.Config
	if config == nil {
		config = &container.Config{}
	}
	_, keep := config.Labels[LabelKeep]
	j = &record{engine: e, found: true, keep: keep || config.Labels[LabelJob] == ""}
	if opts != nil {
		j.logs, j.take = newLogs(opts.Stdout, opts.Stderr, config.Tty), opts.Take
	}
	state := r.Container.State
	if state == nil {
		return j, false, nil
	}
	// One that was never started never will be: whoever was about to is gone.
	return j, slices.Contains([]container.ContainerState{container.StateExited, container.StateDead, container.StateCreated}, state.Status), nil
}
