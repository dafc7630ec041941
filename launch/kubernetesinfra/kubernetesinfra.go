// Package kubernetesinfra runs a job as a Kubernetes Job.
//
//	driver := kubernetesinfra.New(nil)
//	defer driver.Close()
//	infra := launch.New(kubernetesinfra.Type, driver)
//	configuration, err := infra.Template().Resolve(map[string]any{"image": "busybox:1.36"})
//	running, err := infra.Start(ctx, launch.Job{Configuration: configuration, Command: []string{"ls"}, Stdout: os.Stdout})
//
// The job variables ([Driver.Template]) are those of Prefect's Kubernetes worker, and the
// manifest that they make is that worker's. Where this driver does something else, it is on
// purpose:
//
//   - Secrets, which are [launch.Job.Secrets] and Prefect's key and password, travel in a Secret
//     that belongs to the Job and goes with it, at the latest. They are in no manifest.
//   - The end is that of the pod, known as soon as the kubelet reports it, with its exit code.
//   - A pod that cannot start, because its image is missing or no node has room, is an error with
//     the cluster's own words. What cannot get better is one at once, anything else after
//     pod_watch_timeout_seconds. Then the Job is deleted. A pod that is pulling its image is given
//     all the time it takes.
//   - A pod that was to end and has had its time, and pod_watch_timeout_seconds more, is given up:
//     its node is gone, or nobody hears of it.
//   - job_watch_timeout_seconds limits how long the job may take from its start here; then it is
//     stopped.
//
// Kubernetes does not tell standard output from standard error: all output goes to
// [launch.Job.Stdout]. It is followed through broken connections, without a gap and without
// repetition. While the API server is away, [launch.Running.Wait] waits for it, for
// [Options.Patience]. Files cannot be put into a pod or taken out of it: a job with
// [launch.Job.Files] or [launch.Job.Take] is refused.
//
// A Job that has ended stays until its finished_job_ttl, for "kubectl logs" and the like; its
// Secret does not. One that was stopped, or could not start, is deleted.
//
// The id of a job is "<namespace>:<name of the Job>", as Prefect's worker writes it. It does not
// tell the cluster: a job that this driver did not start is sought in the cluster of the
// configuration that it is looked for with, or else in the one that is talked to without a
// cluster_config.
//
// What the driver has to be allowed to do is in the file rbac.yaml beside this one.
package kubernetesinfra

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowship/flowship/launch"
)

// Type is Prefect's name for this kind of infrastructure.
const Type = "kubernetes"

// LabelJob is on all Jobs, pods and Secrets that a driver makes, a different text for every job.
const LabelJob = "dev.flowship.job"

// Options are the options of [New]; nil is the default.
type Options struct {
	// Kubeconfig is the file that says where the cluster is, for jobs without a cluster_config; ""
	// is the cluster that this program runs in or, outside of one, the file that kubectl reads.
	Kubeconfig string
	// Context is the context in that file; "" is its current one.
	Context string
	// Image is for jobs whose configuration has none; "" is [DefaultImage].
	Image string
	// ExecutorImage is an image with the file /usr/local/bin/flowship, and cp. If it is given,
	// jobs have that file as /flowship/flowship, and a command that begins with "flowship" or
	// the path in the image means it. "" leaves that to the job's own image.
	ExecutorImage string
	// Patience is how long [launch.Running.Wait] waits for an API server that does not answer; 0
	// means 15 minutes.
	Patience time.Duration
}

// DefaultImage is what Prefect's worker takes.
const DefaultImage = "prefecthq/prefect:3.8.8-python3.12"

// Driver implements [launch.Driver].
type Driver struct {
	opts Options
	jobs *launch.Watches[*record] // by id

	mu       sync.Mutex
	clusters map[string]*cluster // by their configuration; "" is the driver's own
}

// New returns a driver. The cluster is sought with the first job.
func New(opts *Options) *Driver {
	d := &Driver{clusters: map[string]*cluster{}}
	if opts != nil {
		d.opts = *opts
	}
	if d.opts.Patience == 0 {
		d.opts.Patience = 15 * time.Minute
	}
	d.jobs = launch.NewWatches(func(ctx context.Context, _ string, j *record) (*launch.Exit, error, bool) {
		return newWatch(j, d.opts.Patience).run(ctx)
	})
	return d
}

// Close ends all waiting. Jobs go on.
func (d *Driver) Close() error {
	d.jobs.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.clusters {
		c.close()
	}
	d.clusters = map[string]*cluster{}
	return nil
}

// record is what a driver knows of a job. Only its watch changes it, but for stopped.
type record struct {
	cluster   *cluster
	namespace string
	name      string
	limits    limits
	output    *output     // nil without
	secret    bool        // there is one of the same name
	foreign   bool        // another kind of program made it, and deletes it if need be
	found     bool        // another program made it
	stopped   atomic.Bool // by this driver
}

// limits are how long a job may take, from the moment at which a program begins to watch it.
type limits struct {
	start time.Duration // until its pod starts, unless the pod gets on
	whole time.Duration // 0 for ever
}

// annotationLimits is where a Job says its limits to programs that find it.
const annotationLimits = "dev.flowship.limits"

func (l limits) String() string { return l.start.String() + " " + l.whole.String() }

// readLimits takes what [limits.String] has written.
func readLimits(s string) limits {
	start, whole, _ := strings.Cut(s, " ")
	l := limits{start: defaultStart}
	if d, err := time.ParseDuration(start); err == nil && d > 0 {
		l.start = d
	}
	if d, err := time.ParseDuration(whole); err == nil && d > 0 {
		l.whole = d
	}
	return l
}

// Wait implements [launch.Driver]. A job that was never waited for is never forgotten; of the
// others, the last few hundred can be asked for again, and all whose Job is still there.
func (d *Driver) Wait(ctx context.Context, id string) (*launch.Exit, error) {
	if _, err := d.find(ctx, id); err != nil {
		return nil, err
	}
	return d.jobs.Wait(ctx, id)
}

// Stop implements [launch.Driver]. Pods get the grace period in whole seconds, one at least;
// where pods may not be deleted, that of their manifest. The Job is deleted.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	j, err := d.find(ctx, id)
	if errors.Is(err, launch.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if d.jobs.Ended(id) {
		return nil
	}
	j.stopped.Store(true)
	return j.cluster.stop(ctx, j.namespace, j.name, grace)
}

// validName is what the names of namespaces and Jobs look like. It is compiled when one is looked
// at: that takes a millisecond, for its bound, which no other command is to wait for.
var validName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`) })
