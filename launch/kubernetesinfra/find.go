package kubernetesinfra

import (
	"context"
	"io"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/flowship/flowship/launch"
)

// Find implements [launch.Driver]. Jobs that other programs started, Prefect's worker among them,
// are found as well. What is wanted of one of those counts from now on: whoever waited for it
// through this driver before waits for its end alone. Only those that a [Driver] started are
// deleted when they take too long.
func (d *Driver) Find(ctx context.Context, id string, opts *launch.FindOptions) (ended bool, err error) {
	if opts == nil {
		opts = &launch.FindOptions{}
	}
	namespace, name, err := parseID(id)
	if err != nil {
		return false, err
	}
	if known, ok := d.jobs.Job(id); ok && !known.found {
		return d.jobs.Ended(id), nil
	}
	if len(opts.Take) > 0 {
		return false, errNoFiles
	}
	var c configuration
	if err := (&launch.Job{Configuration: opts.Configuration}).Configure(&c); err != nil {
		return false, err
	}
	j, ended, err := d.lookUp(ctx, namespace, name, c.ClusterConfig)
	if err != nil {
		return false, err
	}
	if c.StreamOutput == nil || *c.StreamOutput {
		notes := opts.Notes
		if notes == nil {
			notes = io.Discard
		}
		j.output = newOutput(opts.Stdout, notes)
	}
	if opts.Wants() {
		d.jobs.Replace(id, j)
	} else {
		d.jobs.Add(id, j)
	}
	return ended, nil
}

// find returns the record of a job, and makes one of a Job that somebody else started.
func (d *Driver) find(ctx context.Context, id string) (*record, error) {
	namespace, name, err := parseID(id)
	if err != nil {
		return nil, err
	}
	if j, ok := d.jobs.Job(id); ok {
		return j, nil
	}
	j, _, err := d.lookUp(ctx, namespace, name, nil)
	if err != nil {
		return nil, err
	}
	return d.jobs.Add(id, j), nil
}

// parseID takes an id apart. What has not the form of one is none that was ever given.
func parseID(id string) (namespace, name string, err error) {
	namespace, name, ok := strings.Cut(id, ":")
	if !ok || !validName().MatchString(namespace) || !validName().MatchString(name) {
		return "", "", launch.ErrNotFound
	}
	return namespace, name, nil
}

// lookUp makes the record of a Job that this driver did not make.
func (d *Driver) lookUp(ctx context.Context, namespace, name string, config *clusterConfig) (j *record, ended bool, err error) {
	c, err := d.connect(config)
	if err != nil {
		return nil, false, err
	}
	job, err := c.getJob(ctx, namespace, name)
	if isNotFound(err) {
		return nil, false, launch.ErrNotFound
	} else if err != nil {
		return nil, false, c.because(ctx, err)
	}
	ours := job.Labels[LabelJob] != ""
	j = &record{cluster: c, namespace: namespace, name: name, secret: ours, foreign: !ours, found: true, limits: readLimits(job.Annotations[annotationLimits])}
	for _, condition := range job.Status.Conditions {
		if condition.Status == corev1.ConditionTrue && (condition.Type == batchv1.JobComplete || condition.Type == batchv1.JobFailed) {
			ended = true
		}
	}
	return j, ended, nil
}
