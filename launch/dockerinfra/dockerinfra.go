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
	// cache. Programs that share it sweep each other's containers.
	Dir string
	// Patience is how long [launch.Running.Wait] waits for an engine that does not answer; 0
	// means two minutes.
	Patience time.Duration
}

// DefaultImage is what Prefect's worker takes.
const DefaultImage = "prefecthq/prefect:3.8.8-python3.12"

// Driver implements [launch.Driver].
type Driver struct {
	opts    Options
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	watches sync.WaitGroup

	mu     sync.Mutex
	engine *engine            // once it is known
	owner  *owner             // once a container was made
	jobs   map[string]*record // by container: those under way, and those that ended lately
	told   []string           // containers of those whose end somebody knows, the oldest first
}

// remembered is how many jobs a driver knows after their end has been told.
const remembered = 256

// New returns a driver. The engine is sought with the first job.
func New(opts *Options) *Driver {
	d := &Driver{jobs: map[string]*record{}}
	if opts != nil {
		d.opts = *opts
	}
	if d.opts.Patience == 0 {
		d.opts.Patience = 2 * time.Minute
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// errClosed is what those get who wait while the driver is closed.
var errClosed = errors.New("the driver was closed")

// Close ends all waiting. Containers go on; those whose end was not seen are left to
// [Driver.Sweep].
func (d *Driver) Close() error {
	d.mu.Lock()
	d.cancel() // from here on, no watch begins
	d.mu.Unlock()
	d.watches.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	under := 0
	for _, j := range d.jobs {
		if !j.final && !j.found {
			under++
		}
	}
	errs := []error{d.owner.release(under == 0)}
	d.owner = nil
	if d.engine != nil {
		errs = append(errs, d.engine.api.Close())
	}
	return errors.Join(errs...)
}

// record is what a driver knows of a job. Its fields are guarded by the driver, but for those
// that the watch works with.
type record struct {
	take []launch.File
	logs *logs // nil without output
	keep bool
	// found says that another program started it.
	found bool
	// started says that the container has just been started: nobody need look.
	started bool

	done  chan struct{}      // closed when the watch has ended
	leave context.CancelFunc // ends the watch
	exit  *launch.Exit
	err   error
	final bool // otherwise a further watch may see more
	// replaced says that the container was found again: another record is watched instead.
	replaced bool
	told     bool
}

// Wait implements [launch.Driver]. A job that was never waited for is never forgotten; of the
// others, the last few hundred can be asked for again, and all whose container is kept.
func (d *Driver) Wait(ctx context.Context, id string) (*launch.Exit, error) {
	e, cid, err := d.container(id)
	if err != nil {
		return nil, err
	}
	j, err := d.outlast(ctx, e, cid)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remember(cid, j)
	if j.exit == nil {
		return nil, j.err
	}
	exit := *j.exit
	return &exit, j.err
}

// outlast returns the record of a container when its watch has ended.
func (d *Driver) outlast(ctx context.Context, e *engine, cid string) (*record, error) {
	for {
		j, err := d.watched(ctx, e, cid)
		if err != nil {
			return nil, err
		}
		d.mu.Lock()
		done := j.done
		d.mu.Unlock()
		select {
		case <-done:
		default:
			select {
			case <-done:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		d.mu.Lock()
		replaced := j.replaced && !j.final
		d.mu.Unlock()
		if !replaced {
			return j, nil
		}
	}
}

// watched returns the record of a container, under watch.
func (d *Driver) watched(ctx context.Context, e *engine, cid string) (*record, error) {
	d.mu.Lock()
	j := d.jobs[cid]
	d.mu.Unlock()
	if j == nil {
		found, _, err := d.lookUp(ctx, e, cid, nil)
		if err != nil {
			return nil, err
		}
		j = found
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if known := d.jobs[cid]; known != nil {
		j = known
	}
	d.jobs[cid] = j
	if d.ctx.Err() != nil {
		return nil, errClosed
	}
	if j.done != nil {
		select {
		case <-j.done:
			if j.final {
				return j, nil
			}
		default:
			return j, nil
		}
	}
	d.watch(e, cid, j)
	return j, nil
}

// watch begins to watch a container; the caller holds the lock.
func (d *Driver) watch(e *engine, cid string, j *record) {
	ctx, leave := context.WithCancel(d.ctx)
	done := make(chan struct{})
	j.done, j.leave, j.exit, j.err = done, leave, nil, nil
	w := &watch{engine: e, id: cid, record: j, patience: d.opts.Patience}
	d.watches.Go(func() {
		defer leave()
		exit, err, final := w.run(ctx)
		if d.ctx.Err() != nil && !final {
			err = errClosed
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		j.exit, j.err, j.final = exit, err, final
		if final {
			j.take, j.logs = nil, nil // it is remembered, what it held need not be
		}
		close(done)
	})
}

// remember notes that the end of a job has been told, and forgets the job of which that is
// longest ago. The caller holds the lock.
func (d *Driver) remember(cid string, j *record) {
	if j.told || !j.final {
		return
	}
	j.told = true
	if d.told = append(d.told, cid); len(d.told) > remembered {
		delete(d.jobs, d.told[0])
		d.told = d.told[1:]
	}
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
		e, err := newEngine(d.opts.Host)
		if err != nil {
			return nil, err
		}
		d.engine = e
	}
	return d.engine, nil
}
