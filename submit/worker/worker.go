// Package worker launches flow runs: one whose submitter waits for it, one that goes on by itself,
// or, as a [Worker], those that wait in a work pool.
//
//	w := worker.New(launcher, worker.Options{WorkPool: "local", Limit: 16})
//	err := w.Run(ctx) // until ctx ends; then it finishes what it has begun
//
// # One run
//
// [Launcher.Launch] is the same for all three. It makes the job out of the base job template of
// the run's work pool and the run's job variables, has the infrastructure start it, notes what
// the platform calls it, and waits. When somebody sets the run CANCELLING, it stops the job.
// When the job ends and its executor has not told how the run ended, it does: CRASHED, with
// what the exit code means. Whoever launches holds a lease on the run all the time.
//
// # A worker
//
// Claiming a run is its transition to PENDING, of which one succeeds, together with the
// worker's lease. A worker that is asked to stop claims nothing more, hands back what it has not
// launched, and waits for what it has.
//
// # A worker that was killed
//
// Its lease goes with it. On Linux so do the local processes that it launched: the next one to
// look finds their runs CRASHED, never for ever RUNNING. Containers and Kubernetes Jobs go on. The
// next worker of the pool, or whoever waits for such a run, takes it up ([Launcher.Resume]): it
// finds the job by the run's infrastructure and goes on as if it had launched it. The lease
// decides who does, so that of several one does, and none is run twice. Only a run whose job is
// not there any more, or was about to be launched, ends CRASHED. What is left where the jobs ran
// and belongs to a run that has ended, a worker removes when it starts and from time to time
// ([Launcher.Sweep]).
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// ErrStopped is the cause of the end of a run whose worker was told not to wait for it.
var ErrStopped = errors.New("its worker was stopped")

// Backend is what a worker needs of an orchestrator.
type Backend interface {
	Runs
	orchestrator.Queue
	orchestrator.LossEnder
	orchestrator.WorkerRegistry
}

// Options are the options of [New].
type Options struct {
	WorkPool string
	Name     string // "" is a random one
	// Queues are the work queues of the pool that it serves, on a Prefect server; none is all.
	Queues []string
	// Limit is how many runs it has under way at once; 0 is without limit.
	Limit int
	// RunOnce has it take what is there, and end when that has ended.
	RunOnce bool
	// Interval is how often it looks for work; 0 means 200 milliseconds. A backend that is a
	// [orchestrator.Notifier] has it look as soon as there may be some.
	Interval time.Duration
	// Heartbeat is how often it says that it is there; 0 means 10 seconds.
	Heartbeat time.Duration
	// Ready, if not nil, is asked before runs are claimed. Its error leaves them to wait.
	Ready func() error
	// Log gets what it does; nil discards.
	Log *slog.Logger
	// Stdout and Stderr get what its jobs print, in whole lines; nil discards it.
	Stdout, Stderr io.Writer
	// Hurry, when closed, has a worker that stops no longer wait for its runs; nil never is.
	Hurry <-chan struct{}
}

// Worker serves one work pool.
type Worker struct {
	Options
	launcher *Launcher
	runs     Backend
	log      *slog.Logger
	out, err together // of its jobs

	mu    sync.Mutex
	taken map[string]struct{} // runs under way
	freed chan struct{}       // buffered: 1; a run has ended
	// unsure are claims to which the backend gave no answer, by the run: nobody else takes such a
	// run if it is ours. Of serve, and of Run after it.
	unsure map[string]*claim
	news   chan struct{} // buffered: 1; there may be work
	// unfound are runs, by id, of which it was said that their jobs cannot be looked for.
	unfound sync.Map
	all     sync.WaitGroup
}

// How often a worker says that it is there, looks for runs that nobody looks after, and how long
// it waits at most between attempts at a backend that fails.
const (
	heartbeatInterval = 10 * time.Second
	reviewInterval    = time.Second
	sweepInterval     = time.Minute
	longestBackoff    = 30 * time.Second
	// However much is heard, it does not look more often for that.
	shortestInterval = 200 * time.Millisecond
)

// New returns a worker that launches with the launcher what the backend has for it.
func New(launcher *Launcher, runs Backend, opts Options) *Worker {
	w := &Worker{Options: opts, launcher: launcher, runs: runs, log: opts.Log, out: together{w: opts.Stdout}, err: together{w: opts.Stderr}, taken: map[string]struct{}{}, unsure: map[string]*claim{}, freed: make(chan struct{}, 1), news: make(chan struct{}, 1)}
	if w.Name == "" {
		w.Name = "worker " + orchestrator.RandomName()
	}
	if w.Interval <= 0 {
		w.Interval = 200 * time.Millisecond
	}
	if w.Heartbeat <= 0 {
		w.Heartbeat = heartbeatInterval
	}
	if w.log == nil {
		w.log = slog.New(slog.DiscardHandler)
	}
	w.log = w.log.With("worker", w.Name, "work_pool", w.WorkPool)
	return w
}

// Run serves the pool until ctx ends, and returns when the runs that it launched have ended. Its
// error is that of the backend when the worker could not even begin: afterwards, failures are
// logged and tried again.
func (w *Worker) Run(ctx context.Context) error {
	self := orchestrator.Worker{Name: w.Name, WorkPool: w.WorkPool, Interval: w.Heartbeat}
	if err := w.runs.Heartbeat(ctx, self); err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	w.log.Info("worker started", "limit", w.Limit)
	// Runs are not to end because the worker is to; what ends them is the second request.
	whole, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abort(nil)
	err := w.serve(ctx, whole, self)
	w.giveUpUnsure(whole)
	if n := w.underWay(); n > 0 && !w.RunOnce {
		w.log.Info("worker stops when its runs have ended", "runs", n)
	}
	ended := make(chan struct{})
	go func() {
		w.all.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-w.Hurry:
		abort(ErrStopped)
		<-ended
	}
	off, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := w.runs.SignOff(off, self); err != nil {
		w.log.Warn("could not sign off", "error", err)
	}
	w.log.Info("worker stopped")
	return err
}

// serve claims runs until ctx ends or, with RunOnce, once.
func (w *Worker) serve(ctx, whole context.Context, self orchestrator.Worker) error {
	var failures int
	var looked time.Time
	care := &upkeep{Worker: w, self: self, seen: time.Now()}
	defer w.listen(ctx)()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		case <-w.freed:
		case <-w.news:
			if since := time.Since(looked); since < shortestInterval {
				pause.Reset(shortestInterval - since)
				continue
			}
		}
		looked = time.Now()
		err := care.take(ctx, whole)
		if err == nil {
			err = w.take(ctx, whole)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			failures = 0
		case w.RunOnce:
			return fmt.Errorf("worker: %w", err)
		default:
			failures++
			w.log.Warn("no work could be fetched, trying again", "failures", failures, "error", err)
		}
		if w.RunOnce {
			return nil
		}
		pause.Reset(w.backoff(failures))
	}
}

// listen has the worker look for work when the backend tells that there may be some. The function
// that it returns ends that.
func (w *Worker) listen(ctx context.Context) (stop func()) {
	notifier, ok := w.runs.(orchestrator.Notifier)
	if !ok || w.RunOnce {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var listening sync.WaitGroup
	listening.Go(func() {
		notifier.Notify(ctx, func(_ string, t orchestrator.StateType) {
			if t != orchestrator.TypeScheduled {
				return
			}
			select {
			case w.news <- struct{}{}:
			default:
			}
		}, func(bool) {})
	})
	return func() {
		cancel()
		listening.Wait()
	}
}

// backoff is how long to wait after so many failures in a row: longer each time, never the same for
// several workers, and without failures no longer than the interval.
func (w *Worker) backoff(failures int) time.Duration {
	d := w.Interval
	for range failures {
		d = min(2*d, longestBackoff)
	}
	return d - rand.N(d/5+1)
}

// holder is what the worker is to its runs.
func (w *Worker) holder() string { return "worker " + strings.TrimPrefix(w.Name, "worker ") }

func (w *Worker) has(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.taken[id]
	return ok
}

func (w *Worker) underWay() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.taken)
}

// take claims what is due, as far as there is room, and has it launched.
func (w *Worker) take(ctx, whole context.Context) error {
	for _, c := range w.unsure {
		if err := w.claim(ctx, whole, c); err != nil {
			return err
		}
	}
	room := 0
	if w.Limit > 0 {
		if room = w.Limit - w.underWay(); room <= 0 {
			return nil
		}
	}
	runs, err := w.runs.ScheduledFlowRuns(ctx, w.WorkPool, time.Time{}, room)
	if err != nil || len(runs) == 0 {
		return err
	}
	if w.Ready != nil {
		if err := w.Ready(); err != nil {
			return fmt.Errorf("%d runs are due, and nothing could execute them: %w", len(runs), err)
		}
	}
	for _, run := range runs {
		if ctx.Err() != nil {
			return nil
		}
		if w.has(run.ID) { // it was suspended, or put off, and its job is about to end
			continue
		}
		if gone, err := w.undeployed(ctx, run); gone || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		lease := orchestrator.NewLease(w.holder(), w.launcher.Lease)
		if err := w.claim(ctx, whole, &claim{run, orchestrator.NewState(orchestrator.TypePending, ""), lease}); err != nil {
			return err
		}
	}
	return nil
}

// undeployed ends a run of a deployment that is not there any more.
func (w *Worker) undeployed(ctx context.Context, run *orchestrator.FlowRun) (bool, error) {
	deployments, ok := w.runs.(orchestrator.Deployments)
	if !ok || run.DeploymentID == "" {
		return false, nil
	}
	_, err := deployments.Deployment(ctx, run.DeploymentID)
	if !errors.Is(err, orchestrator.ErrNotFound) {
		return false, err
	}
	text := fmt.Sprintf("Deployment %s no longer exists, cancelled run.", run.DeploymentID)
	_, err = w.runs.SetState(ctx, run.ID, orchestrator.NewState(orchestrator.TypeCancelled, text), &orchestrator.SetStateOptions{Force: true})
	if errors.Is(err, orchestrator.ErrNotFound) {
		err = nil
	}
	w.log.Warn("flow run cancelled", "flow_run", run.ID, "reason", text)
	return true, err
}

// handBack offers a run again that was claimed and not launched.
func (w *Worker) handBack(ctx context.Context, run *orchestrator.FlowRun, lease orchestrator.Lease) {
	state := orchestrator.NewState(orchestrator.TypeScheduled, "handed back by "+w.Name)
	if _, err := w.runs.SetState(ctx, run.ID, state, nil); err != nil {
		w.log.Warn("could not hand a run back", "flow_run", run.ID, "error", err)
		return
	}
	if err := w.runs.Release(ctx, lease); err != nil {
		w.log.Warn("could not hand a run back", "flow_run", run.ID, "error", err)
	}
	w.log.Info("flow run handed back", "flow_run", run.ID)
}
