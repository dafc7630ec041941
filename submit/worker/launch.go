package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// Runs is what launching needs of an orchestrator.
type Runs interface {
	orchestrator.Reader
	orchestrator.StateSetter
	orchestrator.Leaser
	orchestrator.Resumer
	orchestrator.Launched
	orchestrator.WorkPoolReader
	orchestrator.LogWriter
	orchestrator.LogReader
}

// Elsewhere is what a job needs that does not see the files of this machine.
type Elsewhere struct {
	Program     string        // path of the flowship program there
	Command     []string      // of the executor; nil for a run that is no bundle of flowship's
	Files, Take []launch.File // what is put into the job, and taken from it
	// Executor, if not nil, returns one more file of the job, at Program: that for its platform.
	Executor func(context.Context, *launch.Infrastructure, map[string]any) (launch.File, error)
	Env      []string // what the executor is told beside its command line, as "NAME=value"
	Secrets  []string // names of variables that nobody else is to see
	// CertFile is the path there of the certificates that the executor trusts; "" for its own.
	CertFile string
	// Reports says that the executor reaches the orchestrator. Where it does not, who launches it
	// says how the run gets on, and keeps its output as its logs.
	Reports bool
}

// Launcher launches flow runs. It is safe for concurrent use.
type Launcher struct {
	Runs    Runs
	Watcher *orchestrator.Watcher // of the same runs
	// Infrastructure returns where runs of a work pool of this type are executed.
	Infrastructure func(poolType string) (*launch.Infrastructure, error)
	// Executor is the start of an executor's command line, "flowship step" in full.
	Executor []string
	// Elsewhere, if not nil, returns what a run's job needs in a pool of this type, if it does not
	// see this machine's files; nil for one that does.
	Elsewhere func(run *orchestrator.FlowRun, poolType string) (*Elsewhere, error)
	// Env returns what a run's executor is told beside its command line, as "NAME=value".
	Env func(flowRunID string, lease orchestrator.Lease) []string
	// Access returns what gives a run's executor access to the stores, as "NAME=value": it may be
	// secret, and is made when the run is launched. nil is nothing: the job's own credentials do.
	Access func(ctx context.Context, run *orchestrator.FlowRun) ([]string, error)
	// Settings, if not nil, returns what the job's environment holds, as "NAME=value", where
	// the job configuration says nothing else.
	Settings func(Whose) []string
	// References, if not nil, returns what resolves references to a server's blocks and variables.
	References func(context.Context) (launch.References, error)
	// Grace is how long a job that is stopped may take to end after SIGINT, and again after
	// SIGTERM.
	Grace time.Duration
	// Patience, if not nil, returns how long a run that has begun and is CANCELLING may take to end
	// before its job is stopped: as long as its executor, which hears of it as well, may take.
	Patience func(*orchestrator.FlowRun) time.Duration
	// Lease is the length of leases; 0 is [orchestrator.LeaseLength].
	Lease time.Duration
	// Storage is how the stores of records are opened; nil is the default.
	Storage *execute.StorageOptions
	// Refused, if not nil, is told of a run whose executor refused the bundle.
	Refused func(*orchestrator.FlowRun) error
}

// Launch is one run to be launched.
type Launch struct {
	Run   *orchestrator.FlowRun // PENDING
	Lease orchestrator.Lease    // that the caller has taken; it is given up at the end
	// Worker is the name of the worker that launches, which platforms show of the job; "" without one.
	Worker string
	// Stdout and Stderr get the job's output; nil discards it.
	Stdout, Stderr io.Writer
	// Keep leaves the job's working directory behind.
	Keep bool
	// Kill, when closed, has a run that is being stopped killed at once; nil never is.
	Kill <-chan struct{}
	// Accepted, if not nil, is called when the infrastructure has accepted the job.
	Accepted func()
}

// End is how a run ended that was launched.
type End struct {
	State    orchestrator.State
	ExitCode int // as a shell would say it
	Result   json.RawMessage
	Dir      string  // the working directory that was kept, or ""
	Warnings []error // what went wrong beside the run
}

// Launch launches the run, waits for it and sees to it that it ends in a final state. When ctx
// ends, the run is stopped and CANCELLED or, if the cause is [ErrStopped], CRASHED; with [ErrLeft],
// it is left as it is. An error means that the end of the run is not known.
func (l *Launcher) Launch(ctx context.Context, in Launch) (*End, error) {
	a := &attempt{Launcher: l, Launch: in}
	return a.toItsEnd(ctx, a.start, nil)
}

// toItsEnd sees the run to its end, whose job begin starts or finds. If the run is to wait for its
// retry first, due is when that is due.
func (a *attempt) toItsEnd(ctx context.Context, begin beginning, due *time.Time) (*End, error) {
	// Whatever happens to the caller, the end of the run has to be recorded.
	whole := context.WithoutCancel(ctx)
	ctx, stopKeeping := orchestrator.Keep(ctx, a.Runs, a.Launch.Lease)
	defer stopKeeping()
	defer a.letGo(whole)
	defer a.hush()
	for {
		if due != nil {
			if err := a.awaitRetry(ctx, *due); err != nil {
				return a.notStarted(whole, err, true)
			}
			begin = a.startAgain
		}
		end, again, err := a.once(ctx, whole, begin)
		if again == nil {
			return end, err
		}
		due = again
	}
}

// beginning starts the job, or finds it.
type beginning func(ctx context.Context) (*launch.Running, error)

// once sees the job to its end, and says when the run is to be launched once more.
func (a *attempt) once(ctx, whole context.Context, begin beginning) (end *End, again *time.Time, err error) {
	running, err := begin(ctx)
	switch {
	case err == nil:
	case a.found && errors.Is(err, launch.ErrNotFound):
		return a.wasGone(whole)
	case a.found: // it may be found later
		return &a.end, nil, wrapped(err)
	default:
		end, err = a.notStarted(whole, err, ctx.Err() != nil)
		return end, nil, err
	}
	if a.Accepted != nil {
		a.Accepted()
	}
	ctx, unwatch := a.watch(ctx)
	exit, err := running.Wait(ctx)
	interrupted := ctx.Err() != nil // before unwatch sees to that
	unwatch()
	cause := context.Cause(ctx)
	lost := exit == nil && errors.Is(cause, orchestrator.ErrLeaseLost)
	stopped := exit == nil && !lost && interrupted
	switch {
	case stopped && errors.Is(cause, ErrLeft):
		a.leave()
		return &a.end, nil, wrapped(cause)
	case lost && a.goesOnElsewhere(whole, running):
		a.leave()
		return &a.end, nil, errTakenUp
	case lost:
		exit, err = a.abandon(whole, running)
	case stopped:
		exit, err = a.cancel(whole, running, cause)
	case exit == nil && a.found && errors.Is(err, launch.ErrNotFound):
		return a.wasGone(whole)
	case exit == nil: // the platform says why there will be none
		return a.notRun(whole, err)
	}
	if exit == nil {
		return nil, nil, fmt.Errorf("worker: %w", err)
	}
	a.end.Dir, a.end.ExitCode = exit.Dir, exit.Code
	a.warn(err)
	if again, err = a.conclude(whole, exit, stopped, lost); again != nil || err != nil {
		return &a.end, again, wrapped(err)
	}
	if a.end.State.Type == orchestrator.TypeCrashed && a.end.ExitCode == execute.ExitRefused && a.Refused != nil {
		a.warn(a.Refused(a.Run))
	}
	return &a.end, nil, nil
}

func wrapped(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("worker: %w", err)
}

// attempt is one call of Launch.
type attempt struct {
	*Launcher
	Launch
	// What place finds out:
	pool          *orchestrator.WorkPool
	deployment    *orchestrator.Deployment // nil for a run of none
	infra         *launch.Infrastructure
	elsewhere     *Elsewhere // nil where the job sees this machine's files
	argv          []string   // of the executor
	foreign       bool       // the job's command can do without this program
	alone         bool       // it is a deployment's own, around which there is no executor
	configuration map[string]any

	scribe   *execute.Scribe
	attempts int  // that were begun
	found    bool // the job is one that somebody else started
	again    bool // the job is not the first of the run
	gone     bool // it was to be found, and is not there any more
	end      End
	cause    error // why it is being stopped
}

// speaks reports whether the launcher speaks for an executor that cannot.
func (a *attempt) speaks() bool { return a.elsewhere != nil && !a.elsewhere.Reports }

// start makes the job and has it started.
func (a *attempt) start(ctx context.Context) (*launch.Running, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if err := a.place(ctx); err != nil {
		return nil, err
	}
	job := launch.Job{
		Command: a.argv, Configuration: a.configuration, Stdout: a.Stdout, Stderr: a.Stderr,
		Name: a.Run.Name, Labels: a.labels(), Keep: a.Keep,
	}
	if e := a.elsewhere; e != nil {
		job.Files, job.Take, job.Secrets, job.Env = e.Files, e.Take, e.Secrets, e.Env
		if e.Executor != nil {
			executor, err := e.Executor(ctx, a.infra, a.configuration)
			if err != nil && !a.foreign {
				return nil, err
			}
			if err == nil {
				job.Files = append([]launch.File{executor}, e.Files...)
			}
		}
	} else {
		job.Env = a.Env(a.Run.ID, a.Launch.Lease)
	}
	if a.Settings != nil {
		job.Env = append(job.Env, unlessConfigured(a.configuration, a.Settings(Whose{a.Run, a.deployment, a.Worker, a.elsewhere}))...)
	}
	if a.Access != nil {
		access, err := a.Access(ctx, a.Run)
		if err != nil {
			return nil, err
		}
		job.Env = append(job.Env, access...)
	}
	if a.speaks() {
		a.scribe = execute.NewScribe(ctx, a.Runs, a.Run.ID, &execute.ScribeOptions{Stdout: a.Stdout, Stderr: a.Stderr})
		job.Stdout, job.Stderr, job.Notes = a.scribe.Stdout, a.scribe.Stderr, a.scribe.Notes
	}
	whole := context.WithoutCancel(ctx)
	noted := ""
	if !a.again {
		job.Known = func(id string) {
			if a.Runs.SetInfrastructure(whole, a.Run.ID, id) == nil { // else once more when it runs
				noted = id
			}
		}
	}
	running, err := a.infra.Start(ctx, job)
	if err != nil {
		a.hush()
		return nil, err
	}
	a.found = false
	a.begun(whole)
	// Of a further job last, so that who takes the run up knows that this one has begun, and not only
	// an earlier one.
	if noted != running.ID() {
		a.warn(a.Runs.SetInfrastructure(whole, a.Run.ID, running.ID()))
	}
	return running, nil
}

// StorageAccess is the job variable that says how a job gets at the stores. It is for those who
// submit and launch, see [Launcher.Access]; no base job template knows it.
const StorageAccess = "storage_access"

// Platform is the job variable that says what programs are put into a job, "linux/arm64". It is for
// those who submit and launch; a base job template may know it as well.
const Platform = "platform"

// askedError: somebody set the run CANCELLING.
type askedError struct{ message string }

func (e *askedError) Error() string { return e.message }

// watch returns a context that also ends when somebody wants the run to end.
func (a *attempt) watch(ctx context.Context) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		wanted := func(s orchestrator.State) bool { return s.Type == orchestrator.TypeCancelling || s.Type.Final() }
		state, err := a.Watcher.Wait(watched, a.Run.ID, wanted)
		// A backend that is away for long may come back. The watcher takes its time to give up.
		for err != nil && watched.Err() == nil && !errors.Is(err, orchestrator.ErrNotFound) {
			state, err = a.Watcher.Wait(watched, a.Run.ID, wanted)
		}
		if err == nil && state.Type == orchestrator.TypeCancelling {
			cancel(&askedError{state.Message})
		}
	})
	return watched, func() {
		cancel(nil)
		watching.Wait()
	}
}
