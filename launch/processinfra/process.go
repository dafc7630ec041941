// Package processinfra runs a job as a local process.
//
//	infra := launch.New(processinfra.Type, processinfra.New(nil))
//	running, err := infra.Start(ctx, launch.Job{Command: []string{"sh", "-c", "ls"}, Stdout: os.Stdout})
//
// The process gets an empty working directory, removed when it ends, no standard input, and a
// session of its own, without a terminal. When it ends, whatever of its process group still runs is killed: no
// process and no directory stay behind. When the program that started it is killed, Linux
// sends the process SIGHUP.
//
// Two variables tell an executor where it runs: [EnvScratch] and [EnvStop].
package processinfra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
}

// Driver implements [launch.Driver]. It knows the processes that it started itself: nobody but
// its parent can wait for a process.
type Driver struct {
	dir       string
	mu        sync.Mutex
	processes map[string]*process
}

// New returns a driver for this machine.
func New(opts *Options) *Driver {
	d := &Driver{processes: map[string]*process{}}
	if opts != nil {
		d.dir = opts.Dir
	}
	return d
}

type process struct {
	cmd  *exec.Cmd
	dir  string // holds the working directory and the scratch directory
	keep bool
	lock *os.File // says that the directory is in use; nil where nothing is swept
	out  []*pump

	mu     sync.Mutex // held while it is signalled or reaped
	reaped bool       // its number may be somebody else's

	ended chan struct{} // closed when the first process has ended and its group is gone
	exit  *launch.Exit
	err   error
}

// What the names of the directories begin with. One that is kept is never swept, not even when
// its program was killed.
const (
	runPrefix  = "flowship-run-"
	keptPrefix = "flowship-kept-"
)

const workDir = "work"

// Start implements [launch.Driver].
func (d *Driver) Start(_ context.Context, job *launch.Job) (string, error) {
	if d.dir != "" {
		sweep(d.dir)
	}
	dir, lock, err := makeDir(d.dir, job.Keep)
	if err != nil {
		return "", err
	}
	p, err := start(dir, lock, job)
	if err != nil {
		discard(dir, lock)
		return "", err
	}
	id := strconv.Itoa(p.cmd.Process.Pid)
	d.mu.Lock()
	d.processes[id] = p
	d.mu.Unlock()
	// It ends on its own as soon as the process does; Wait waits for it.
	go p.reap()
	return id, nil
}

// makeDir makes the directory of a job, in use from its first moment as long as the lock is
// open anywhere.
func makeDir(parent string, keep bool) (dir string, lock *os.File, err error) {
	if keep {
		dir, err = os.MkdirTemp(parent, keptPrefix)
		return dir, nil, err
	}
	return claim(parent)
}

func start(dir string, lock *os.File, job *launch.Job) (*process, error) {
	work, scratch := filepath.Join(dir, workDir), filepath.Join(dir, "scratch")
	for _, d := range []string{work, scratch} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	program, err := exec.LookPath(job.Command[0])
	if err != nil {
		return nil, err
	}
	if program, err = filepath.Abs(program); err != nil {
		return nil, err
	}
	p := &process{dir: dir, keep: job.Keep, lock: lock, ended: make(chan struct{})}
	p.cmd = &exec.Cmd{Path: program, Args: job.Command, Dir: work}
	p.cmd.Env = append(append(os.Environ(), job.Env...), EnvScratch+"="+scratch, EnvStop+"=group", "PWD="+work)
	if lock != nil {
		// What runs there holds the lock as well, children included: they may outlive this program.
		p.cmd.ExtraFiles = []*os.File{lock}
	}
	ownGroup(p.cmd)
	defer p.closeWriteEnds()
	if p.cmd.Stdout, err = p.output(job.Stdout); err != nil {
		return nil, err
	}
	if p.cmd.Stderr, err = p.output(job.Stderr); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for _, o := range p.out {
		o.done.Go(o.run)
	}
	return p, nil
}

// output returns what the process writes to. A file it gets itself; for anything else there is
// a pipe, which package exec must not know: it would wait for whoever holds the other end.
func (p *process) output(w io.Writer) (io.Writer, error) {
	f, isFile := w.(*os.File)
	if w == nil || isFile && f == nil {
		return nil, nil
	}
	if isFile {
		return f, nil
	}
	r, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.out = append(p.out, &pump{from: r, writeEnd: end, to: w})
	return end, nil
}

// closeWriteEnds leaves the write ends of the pipes to the process; when there is none, the
// read ends go as well.
func (p *process) closeWriteEnds() {
	for _, o := range p.out {
		o.writeEnd.Close()
		if p.cmd.Process == nil {
			o.from.Close()
		}
	}
}

// pump passes output on.
type pump struct {
	from, writeEnd *os.File
	to             io.Writer
	done           sync.WaitGroup
}

func (o *pump) run() {
	io.Copy(o.to, o.from)
	// If nobody wants the output any more, the process shall learn it as from any closed pipe.
	o.from.Close()
}

// stray is how long output may still come from a process that left the group and kept the
// pipe: it is not ours to kill.
const stray = 2 * time.Second

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
	if err != nil {
		p.err = err
		p.lock.Close()
		return
	}
	p.exit = exitOf(state)
	if p.keep {
		p.exit.Dir = filepath.Join(p.dir, workDir)
		return
	}
	p.err = discard(p.dir, p.lock)
}

// discard removes a directory and then its lock. When the directory cannot be removed, the lock
// stays there for a later sweep, which tries again.
func discard(dir string, lock *os.File) error {
	defer lock.Close()
	if err := removeAll(dir); err != nil || lock == nil {
		return err
	}
	if err := os.Remove(lock.Name()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeAll also removes directories that the job made read-only.
func removeAll(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	filepath.WalkDir(dir, func(path string, e os.DirEntry, _ error) error {
		if e != nil && e.IsDir() {
			os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// Wait implements [launch.Driver]. It may be called once for each process.
func (d *Driver) Wait(ctx context.Context, id string) (*launch.Exit, error) {
	p, err := d.find(id)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	d.mu.Lock()
	delete(d.processes, id)
	d.mu.Unlock()
	return p.exit, p.err
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

// Find implements [launch.Driver].
func (d *Driver) Find(_ context.Context, id string) error {
	_, err := d.find(id)
	return err
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
