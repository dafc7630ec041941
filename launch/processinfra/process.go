// Package processinfra runs a job as a local process.
//
//	infra := launch.New(processinfra.Type, processinfra.New(nil))
//	running, err := infra.Start(ctx, launch.Job{Command: []string{"sh", "-c", "ls"}, Stdout: os.Stdout})
//
// The process gets an empty working directory, removed when it ends, no standard input, and a
// session of its own, without a terminal. When it ends, whatever of its process group still runs
// is killed: no process and no directory stay behind. When the program that started it is killed,
// Linux sends the process SIGHUP.
//
// Its environment is this program's, then the configuration's env, then the job's. Two variables
// tell an executor where it runs: [EnvScratch] and [EnvStop]. Labels are nowhere noted.
//
// Of the job configuration ([Driver.Template] has all of it), working_dir is used in place of a
// fresh directory, and stays; stream_output false discards the output. A virtualenv provides the
// interpreter of Python flows and the first directory of PATH; with a condaenv, conda runs the
// command.
package processinfra

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/flowship/flowship/launch"
)

// Type is Prefect's name for this kind of infrastructure.
const Type = "process"

// What the environment of a process tells it.
const (
	// EnvScratch names a private, empty directory that goes away with the working directory.
	EnvScratch = "FLOWSHIP_SCRATCH"
	// EnvStop is "group": signals come to all processes of the group, so that the first one
	// need not pass them on.
	EnvStop = "FLOWSHIP_STOP"
)

// Options are the options of [New]; nil is the default.
type Options struct {
	// Dir is where working directories are made; "" is the system's temporary directory. In a
	// directory of its own, a driver on Linux removes what killed programs left, once nothing
	// runs there any more; a kept directory stays.
	Dir string
	// Environ are the variables that jobs inherit, as "NAME=value"; nil is this program's
	// environment.
	Environ []string
}

// Driver implements [launch.Driver]. It knows the processes that it started itself: nobody but
// its parent can wait for a process.
type Driver struct {
	dir     string
	environ []string

	mu        sync.Mutex
	processes map[string]*process // those under way, and those that ended lately
	told      []string            // ids of those whose end somebody knows, the oldest first
}

// remembered is how many jobs a driver knows after their end has been told.
const remembered = 256

// New returns a driver for this machine.
func New(opts *Options) *Driver {
	d := &Driver{processes: map[string]*process{}}
	if opts != nil {
		d.dir, d.environ = opts.Dir, opts.Environ
	}
	return d
}

type process struct {
	cmd  *exec.Cmd
	pid  int
	dir  string // holds the working directory and the scratch directory
	work string
	keep bool
	lock *os.File // says that the directory is in use; nil where nothing is swept
	out  []*pump
	told bool // guarded by the driver

	mu     sync.Mutex // held while it is signalled or reaped
	reaped bool       // its number may be somebody else's

	ended chan struct{} // closed when the first process has ended and its group is gone
	exit  launch.Exit
	err   error
	lost  bool // the exit is not known
}

// Start implements [launch.Driver].
func (d *Driver) Start(_ context.Context, job *launch.Job) (string, error) {
	plan, err := d.plan(job)
	if err != nil {
		return "", err
	}
	if d.dir != "" {
		sweep(d.dir)
	}
	keep := job.Keep && plan.dir == ""
	dir, lock, err := makeDir(d.dir, keep)
	if err != nil {
		return "", err
	}
	p := &process{dir: dir, keep: job.Keep, lock: lock, ended: make(chan struct{})}
	started := make(chan error)
	// It ends on its own as soon as the process does; Wait waits for it.
	go p.run(plan, started)
	if err := <-started; err != nil {
		discard(dir, lock)
		return "", err
	}
	// Numbers of processes come again.
	id := fmt.Sprintf("%d-%x", p.pid, time.Now().UnixNano())
	d.mu.Lock()
	d.processes[id] = p
	d.mu.Unlock()
	return id, nil
}

// run starts the process and stays until it has ended.
func (p *process) run(plan *plan, started chan<- error) {
	defer stayOnThread()()
	err := p.start(plan)
	started <- err
	if err == nil {
		p.reap()
	}
}

func (p *process) start(plan *plan) error {
	scratch := filepath.Join(p.dir, "scratch")
	dirs := []string{scratch}
	if p.work = plan.dir; p.work == "" {
		p.work = filepath.Join(p.dir, workDir)
		dirs = append(dirs, p.work)
	}
	for _, d := range dirs {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	p.cmd = &exec.Cmd{Path: plan.program, Args: plan.argv, Dir: p.work}
	p.cmd.Env = append(plan.env, EnvScratch+"="+scratch, EnvStop+"=group", "PWD="+p.work)
	if p.lock != nil {
		// What runs there holds the lock as well, children included: they may outlive this program.
		p.cmd.ExtraFiles = []*os.File{p.lock}
	}
	ownGroup(p.cmd)
	defer p.closeWriteEnds()
	if plan.stream {
		var err error
		if p.cmd.Stdout, err = p.output(plan.job.Stdout); err != nil {
			return err
		}
		if p.cmd.Stderr, err = p.output(plan.job.Stderr); err != nil {
			return err
		}
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.pid = p.cmd.Process.Pid
	for _, o := range p.out {
		o.done.Go(o.run)
	}
	return nil
}

// killed is how long a process may take to end that was killed: the system may be busy.
const killed = 10 * time.Second

// reap waits for the process, and leaves nothing of it behind.
func (p *process) reap() {
	defer close(p.ended)
	state, err := p.collect()
	for _, o := range p.out {
		late := time.AfterFunc(stray, func() { o.from.Close() })
		o.done.Wait()
		late.Stop()
	}
	p.cmd, p.out = nil, nil // it is remembered, what it held need not be
	if err != nil {
		p.err, p.lost = err, true
		p.lock.Close()
		return
	}
	p.exit = exitOf(state)
	if p.keep {
		p.exit.Dir = p.work
	}
	if p.keep && filepath.Dir(p.work) == p.dir {
		return
	}
	p.err = discard(p.dir, p.lock)
}

// Wait implements [launch.Driver]. A job that was never waited for is never forgotten; of the
// others, the last few hundred can be asked for again.
func (d *Driver) Wait(ctx context.Context, id string) (*launch.Exit, error) {
	p, err := d.find(id)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.ended:
	default:
		select {
		case <-p.ended:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	d.remember(id, p)
	if p.lost {
		return nil, p.err
	}
	exit := p.exit
	return &exit, p.err
}

// remember notes that the end of a job has been told, and forgets the job of which that is
// longest ago.
func (d *Driver) remember(id string, p *process) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.told {
		return
	}
	p.told = true
	if d.told = append(d.told, id); len(d.told) > remembered {
		delete(d.processes, d.told[0])
		d.told = d.told[1:]
	}
}

// Stop implements [launch.Driver]: SIGINT, after the grace period SIGTERM, after another
// SIGKILL, to every process of the group, also to those that are stopped.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	p, err := d.find(id)
	if errors.Is(err, launch.ErrNotFound) {
		return nil
	}
	for i, signal := range stopSignals {
		if i == len(stopSignals)-1 {
			grace = max(grace, killed)
		}
		if err := p.signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("signal %v: %w", signal, err)
		}
		timeout := time.NewTimer(grace)
		select {
		case <-p.ended:
			timeout.Stop()
			return nil
		case <-ctx.Done():
			timeout.Stop()
			return context.Cause(ctx)
		case <-timeout.C:
		}
	}
	return errors.New("it was killed and has not ended yet")
}

// signal reports [os.ErrProcessDone] once the process has been reaped.
func (p *process) signal(s os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return os.ErrProcessDone
	}
	return signalGroup(p.cmd.Process, s)
}

// Find implements [launch.Driver]. Only those processes are found that this driver started.
func (d *Driver) Find(_ context.Context, id string, _ *launch.FindOptions) (ended bool, err error) {
	p, err := d.find(id)
	if err != nil {
		return false, err
	}
	select {
	case <-p.ended:
		return true, nil
	default:
		return false, nil
	}
}

func (d *Driver) find(id string) (*process, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.processes[id]
	if p == nil {
		return nil, launch.ErrNotFound
	}
	return p, nil
}
