// Package launch starts a job on some infrastructure, waits for it and stops it.
//
//	infra := launch.New("process", driver)
//	configuration, err := infra.Template().Resolve(map[string]any{"env": map[string]any{"MODE": "fast"}})
//	running, err := infra.Start(ctx, launch.Job{
//		Configuration: configuration,
//		Command:       []string{"flowship", "step", "execute", …},
//	})
//	exit, err := running.Wait(ctx)
//	log.Print(exit.Explain())
//
// [Infrastructure] is what programs use; a [Driver] is what a platform implements, and is kept
// as small as that. Package processinfra runs a job as a local process; package infratest proves
// a driver.
//
// What a job looks like is said in Prefect's terms. A work pool has a base job template
// ([Template]); job variables fill it, and whatever the template does not have, or does not
// allow, is refused before anything starts. What they take from a Prefect server's blocks and
// variables, [References] knows. A [Launcher] takes the place of the first words of
// the command lines that a pool's steps ([Step]) make. [Settings] are job variables in the form
// of Prefect's old flow runners.
//
// [Join] and [Split] go between command lines and their words as POSIX shells do.
package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	slashpath "path"
	"slices"
	"strings"
	"time"
)

// ErrNotFound: the platform does not know the job (any more).
var ErrNotFound = errors.New("job not found")

// Job is what to start.
type Job struct {
	// Configuration is the job configuration that [Template.Resolve] returned; nil is an empty one.
	Configuration map[string]any
	// Command is the argument vector, when the configuration has no command. The first element is
	// sought in the job's PATH.
	Command []string
	// Env are variables, as "NAME=value", that the job gets beside those of its platform and of
	// its configuration. They win.
	Env []string
	// Secrets are the names of variables whose values nobody but the job is to see. A platform
	// that has a place for secrets keeps them there; the others treat them like all variables.
	Secrets []string
	// Labels are what the platform is to note about the job, where it notes anything, beside the
	// configuration's labels, which win.
	Labels map[string]string
	// Name is what the platform calls the job, where it names jobs.
	Name string
	// Stdout and Stderr get the job's output while whoever started it waits for it; nil
	// discards. What a driver finds to be an *os.File it may hand to the job itself. A [Flusher] is
	// flushed before what holds the output is removed.
	Stdout, Stderr io.Writer
	// Notes get what the platform has to say about the job, such as that its image is pulled; nil
	// is Stderr.
	Notes io.Writer
	// Keep leaves the job's working directory behind, or what else holds what it wrote.
	Keep bool
	// Known, if not nil, is told the id of the job before anything of it runs, by platforms that
	// know it so early: whoever notes it finds the job again, also when this program is killed
	// before [Infrastructure.Start] returns.
	Known func(id string)
	// Files are put into the job before it starts. Take are copied out of it once it has ended,
	// before [Running.Wait] returns: each as a whole or not at all; those that are missing in the
	// job are passed over. A directory of one that is to be taken is made if the job has none, for
	// whichever user it runs as. A platform whose jobs share this program's file system refuses both.
	Files, Take []File
}

// Flusher is a writer of a job's output that holds some of it back. Flush writes that: when it
// returns, the output may be gone where it came from.
type Flusher interface {
	Flush()
}

// File is a file here and its name in a job.
type File struct {
	// Path is where it is in the job: absolute, separated by slashes.
	Path string
	// Source is where it is here, before the job for [Job.Files] and after it for [Job.Take].
	Source string
	// Mode is the permissions of the copy; 0 means those of the original.
	Mode fs.FileMode
	// Shared says that many jobs get this very file, and none is to change it: a platform may keep
	// it for the next ones, and give it to jobs for reading only.
	Shared bool
}

// Exit is how a job ended.
type Exit struct {
	// Code is the exit code, for a job ended by a signal 128 and its number, as shells do.
	Code int
	// Signal is the number of the signal that ended the job, or 0.
	Signal int
	// Dir is the working directory that was kept, or "".
	Dir string
	// Reason is what the platform says about the end, such as that memory ran out; "" if it says
	// nothing that the code does not say.
	Reason string
}

// FindOptions say how a job is found that another program started, and what is wanted of it beside
// its end; nil is nothing.
type FindOptions struct {
	// Configuration is the job configuration that it was started with, where that says on which
	// part of the platform it is.
	Configuration map[string]any
	// Stdout and Stderr get all of its output, from its beginning, while it is waited for.
	Stdout, Stderr io.Writer
	// Notes and Take are as in [Job].
	Notes io.Writer
	Take  []File
}

// Wants reports whether anything is wanted of the job beside its end.
func (o *FindOptions) Wants() bool {
	return o != nil && (o.Stdout != nil || o.Stderr != nil || len(o.Take) > 0)
}

// Sweeper is a [Driver] of a platform where killed programs leave something that does not go by
// itself.
type Sweeper interface {
	// Sweep removes what is left of jobs whose programs are gone, and ends those that run, and
	// returns their ids. Jobs that it is to spare it leaves alone; nil spares none.
	Sweep(ctx context.Context, spare Spare) ([]string, error)
}

// Spare reports whether somebody may still want a job, of which it is told the labels that it was
// started with, "" for one that it has not.
type Spare func(label func(name string) string) bool

// Driver is one platform. Its methods may be called concurrently.
type Driver interface {
	// Start returns when the platform has accepted the job. The id finds it again.
	Start(ctx context.Context, job *Job) (id string, err error)
	// Wait returns when the job has ended and what belonged to it is gone. When ctx ends
	// before, the job goes on. If something could not be removed, there is an error beside
	// the Exit. Several may wait for a job, one after the other or at once.
	Wait(ctx context.Context, id string) (*Exit, error)
	// Stop asks the job to end, insists after the grace period, and ends it after another.
	// It does not wait for more than that.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Find looks for a job that may be another program's, and returns whether it has ended; what is
	// not there (any more) is ErrNotFound. From then on it can be waited for and stopped through
	// this driver. Of a job that this driver did not start, opts say what is wanted of it.
	Find(ctx context.Context, id string, opts *FindOptions) (ended bool, err error)
	// Template is the base job template of work pools of this type, unless they have another:
	// that of Prefect's own worker.
	Template() *Template
}

// Infrastructure is a place where jobs run.
type Infrastructure struct {
	kind   string
	driver Driver
}

// New returns the infrastructure of a driver. Kind is Prefect's work pool type, such as
// "process" or "docker".
func New(kind string, driver Driver) *Infrastructure {
	return &Infrastructure{kind: kind, driver: driver}
}

// Running is a job that was started.
type Running struct {
	infra *Infrastructure
	id    string
	ended bool
}

// Start starts the job. When it fails, nothing runs.
func (i *Infrastructure) Start(ctx context.Context, job Job) (*Running, error) {
	if err := job.check(); err != nil {
		return nil, fmt.Errorf("launch: %s: %w", i.kind, err)
	}
	if job.Notes == nil {
		job.Notes = job.Stderr
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("launch: start %s: %w", i.kind, context.Cause(ctx))
	}
	id, err := i.driver.Start(ctx, &job)
	if err != nil {
		return nil, fmt.Errorf("launch: start %s: %w", i.kind, err)
	}
	return &Running{infra: i, id: id}, nil
}

// Find picks a job up again by the id that it had. One that the platform does not know (any more)
// is ErrNotFound.
func (i *Infrastructure) Find(ctx context.Context, id string, opts *FindOptions) (*Running, error) {
	ended, err := i.driver.Find(ctx, id, opts)
	if err != nil {
		return nil, fmt.Errorf("launch: find %s %q: %w", i.kind, id, err)
	}
	return &Running{infra: i, id: id, ended: ended}, nil
}

// Sweep removes what killed programs left on the platform, see [Sweeper]. Where there is no such
// thing, it does nothing.
func (i *Infrastructure) Sweep(ctx context.Context, spare Spare) ([]string, error) {
	sweeper, ok := i.driver.(Sweeper)
	if !ok {
		return nil, nil
	}
	swept, err := sweeper.Sweep(ctx, spare)
	if err != nil {
		return swept, fmt.Errorf("launch: sweep %s: %w", i.kind, err)
	}
	return swept, nil
}

// Type returns Prefect's work pool type.
func (i *Infrastructure) Type() string { return i.kind }

// Template returns the base job template of work pools of this type.
func (i *Infrastructure) Template() *Template { return i.driver.Template() }

func (j *Job) check() error {
	configured, _ := j.Configuration["command"].(string)
	if configured == "" && (len(j.Command) == 0 || j.Command[0] == "") {
		return errors.New("the job has no command")
	}
	for _, arg := range j.Command {
		if strings.ContainsRune(arg, 0) {
			return fmt.Errorf("the argument %q contains a null byte", arg)
		}
	}
	for i, v := range j.Env {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" || strings.ContainsRune(v, 0) {
			return fmt.Errorf("entry %d of the environment is not NAME=value", i)
		}
	}
	for _, f := range slices.Concat(j.Files, j.Take) {
		if !slashpath.IsAbs(f.Path) || slashpath.Clean(f.Path) != f.Path || f.Path == "/" || strings.ContainsRune(f.Path, 0) {
			return fmt.Errorf("%q is not the absolute path of a file in the job", f.Path)
		}
		if f.Source == "" {
			return fmt.Errorf("the file %q of the job has no name here", f.Path)
		}
	}
	return nil
}

// ID returns the platform's name for the job.
func (r *Running) ID() string { return r.id }

// Ended reports whether the job had ended when it was found.
func (r *Running) Ended() bool { return r.ended }

// Wait waits for the job to end. That it ended badly is no error. An error beside an Exit is
// about something that the job left behind.
func (r *Running) Wait(ctx context.Context) (*Exit, error) {
	exit, err := r.infra.driver.Wait(ctx, r.id)
	if err != nil {
		return exit, fmt.Errorf("launch: wait for %s %q: %w", r.infra.kind, r.id, err)
	}
	return exit, nil
}

// Stop asks the job to end, insists after grace, and ends it after another. [Running.Wait]
// tells when it has ended. A job that has ended already is no error.
func (r *Running) Stop(ctx context.Context, grace time.Duration) error {
	if err := r.infra.driver.Stop(ctx, r.id, grace); err != nil {
		return fmt.Errorf("launch: stop %s %q: %w", r.infra.kind, r.id, err)
	}
	return nil
}
