// Package dockerinfra runs a job as a container of a Docker engine.
//
//	driver := dockerinfra.New(nil)
//	defer driver.Close()
//	infra := launch.New(dockerinfra.Type, driver)
//	configuration, err := infra.Template().Resolve(map[string]any{"image": "busybox:1.36"})
//	running, err := infra.Start(ctx, launch.Job{Configuration: configuration, Command: []string{"ls"}, Stdout: os.Stdout})
//
// The job variables ([Driver.Template]) are those of Prefect's Docker worker, and mean the same;
// what the engine would misunderstand is refused before anything starts. Where this driver does
// something else, it is on purpose: credentials only go to the registry that they are for; with
// none, those of "docker login" are used; networks and network_mode exclude each other; with
// auto_remove, the container is removed by this driver, when its output and its files have been
// taken, and not by the engine.
//
// A container that is not to be removed, as is the default, stays when it has ended, for "docker
// logs" and the like. All containers bear labels ([LabelJob] and others) that tell whose they
// are: what a killed program started, another one can find and see to its end, and
// [Driver.Sweep] removes what nobody wants.
//
// Files that are the same for many jobs ([launch.File.Shared]) are in a volume of the engine with the
// label [LabelShelf], which jobs have mounted for reading. It stays, until another one is made a week
// later and no container has it.
//
// The output is followed through broken connections, without a gap and without repetition. While
// the engine restarts, [launch.Running.Wait] waits for it, for [Options.Patience].
//
// The id of a job is "<base URL>:<id of the container>", as Prefect's worker writes it.
package dockerinfra

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
)

// Type is Prefect's name for this kind of infrastructure.
const Type = "docker"

// Labels of all containers that a driver makes.
const (
	// LabelJob is a different text for every job.
	LabelJob = "dev.flowship.job"
	// LabelOwner names the program that made the container, see [Driver.Sweep].
	LabelOwner = "dev.flowship.owner"
	// LabelKeep is there when the container is to stay after its end.
	LabelKeep = "dev.flowship.keep"
)

// Options are the options of [New]; nil is the default.
type Options struct {
	// Host is the address of the engine, such as "unix:///var/run/docker.sock" or
	// "ssh://user@host"; "" is the one that the docker command talks to: that of DOCKER_HOST (with
	// DOCKER_TLS_VERIFY and DOCKER_CERT_PATH), of the context in DOCKER_CONTEXT or of the current
	// context, or else the default socket.
	Host string
	// Image is for jobs whose configuration has none; "" is [DefaultImage].
	Image string
	// Dir is where a program notes, by a lock, that it lives; "" is a directory in the user's
	// cache. Programs that share it sweep each other's containers: see [Driver.Sweep].
	Dir string
	// Patience is how long an engine is waited for that does not answer, also by
	// [launch.Running.Wait]; 0 means two minutes.
	Patience time.Duration
}

// DefaultImage is what Prefect's worker takes.
const DefaultImage = "prefecthq/prefect:3.8.8-python3.12"

// Driver implements [launch.Driver].
type Driver struct {
	opts Options
	jobs *launch.Watches[*record] // by container

	mu     sync.Mutex
	engine *engine // once it is known
	owner  *owner  // once a container was made
}

// New returns a driver. The engine is sought with the first job.
func New(opts *Options) *Driver {
	d := &Driver{}
	if opts != nil {
		d.opts = *opts
	}
	if d.opts.Patience == 0 {
		d.opts.Patience = 2 * time.Minute
	}
	d.jobs = launch.NewWatches(func(ctx context.Context, cid string, j *record) (*launch.Exit, error, bool) {
		return (&watch{record: j, id: cid, patience: d.opts.Patience}).run(ctx)
	})
	return d
}

// Close ends all waiting. Containers go on; those whose end was not seen are left to
// [Driver.Sweep].
func (d *Driver) Close() error {
	d.jobs.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	ours := slices.ContainsFunc(d.jobs.UnderWay(), func(j *record) bool { return !j.found })
	errs := []error{d.owner.release(!ours)}
	d.owner = nil
	if d.engine != nil {
		errs = append(errs, d.engine.api.Close())
	}
	return errors.Join(errs...)
}

// record is what a driver knows of a job. Only its watch changes it.
type record struct {
	engine *engine
	take   []launch.File
	logs   *logs // nil without output
	keep   bool
	// found says that another program started it.
	found bool
	// started says that the container has just been started: nobody need look.
	started bool
}

// Wait implements [launch.Driver]. A job that was never waited for is never forgotten; of the
// others, the last few hundred can be asked for again, and all whose container is kept.
func (d *Driver) Wait(ctx context.Context, id string) (*launch.Exit, error) {
	e, cid, err := d.container(id)
	if err != nil {
		return nil, err
	}
	if _, known := d.jobs.Job(cid); !known {
		j, _, err := d.lookUp(ctx, e, cid, nil)
		if err != nil {
			return nil, err
		}
		d.jobs.Add(cid, j)
	}
	return d.jobs.Wait(ctx, cid)
}

// Stop implements [launch.Driver]. The engine sends the image's stop signal, which is SIGTERM
// unless the image has another, and after the grace period, in whole seconds, SIGKILL.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	e, cid, err := d.container(id)
	if errors.Is(err, launch.ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	seconds := int(min(max(math.Ceil(grace.Seconds()), 0), math.MaxInt32))
	ctx, cancel := e.patiently(ctx, time.Duration(seconds)*time.Second)
	defer cancel()
	_, err = e.api.ContainerStop(ctx, cid, client.ContainerStopOptions{Timeout: &seconds})
	switch {
	case err == nil || errdefs.IsNotFound(err):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return e.fault(err)
}

var containerID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// container takes an id apart. What has not the form of one is none that was ever given.
func (d *Driver) container(id string) (*engine, string, error) {
	colon := strings.LastIndexByte(id, ':')
	if colon < 0 || !containerID.MatchString(id[colon+1:]) {
		return nil, "", launch.ErrNotFound
	}
	e, err := d.connect()
	if err != nil {
		return nil, "", err
	}
	if base := id[:colon]; base != e.base {
		return nil, "", fmt.Errorf("it is on the engine at %q, and this is %q", base, e.base)
	}
	return e, id[colon+1:], nil
}

// connect returns the engine, which need not answer.
func (d *Driver) connect() (*engine, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.engine == nil {
		e, err := newEngine(d.opts.Host, d.opts.Patience)
		if err != nil {
			return nil, err
		}
		d.engine = e
	}
	return d.engine, nil
}
