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
// worker's lease. A worker that is killed takes its lease with it, and on Linux its jobs as
// well: the next one to look finds these runs CRASHED, never for ever RUNNING, and none is run
// twice. A worker that is asked to stop claims nothing more, hands back what it has not
// launched, and waits for what it has.
package worker

import (
	"context"
	"errors"
	"fmt"
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
	// Limit is how many runs it has under way at once; 0 is without limit.
	Limit int
	// RunOnce has it take what is there, and end when that has ended.
	RunOnce bool
	// Interval is how often it looks for work; 0 means 200 milliseconds.
	Interval time.Duration
	// Ready, if not nil, is asked before runs are claimed. Its error leaves them to wait.
	Ready func() error
	// Log gets what it does; nil discards.
	Log *slog.Logger
	// Hurry, when closed, has a worker that stops no longer wait for its runs; nil never is.
	Hurry <-chan struct{}
}

// Worker serves one work pool.
type Worker struct {
	Options
	launcher *Launcher
	runs     Backend
	log      *slog.Logger

	mu    sync.Mutex
	taken map[string]struct{} // runs under way
	freed chan struct{}       // buffered: 1; a run has ended
	all   sync.WaitGroup
}

// How often a worker says that it is there, looks for runs that nobody looks after, and how long
// it waits at most between attempts at a backend that fails.
const (
	heartbeatInterval = 10 * time.Second
	reviewInterval    = time.Second
	longestBackoff    = 30 * time.Second
)

// New returns a worker that launches with the launcher what the backend has for it.
func New(launcher *Launcher, runs Backend, opts Options) *Worker {
	w := &Worker{Options: opts, launcher: launcher, runs: runs, log: opts.Log, taken: map[string]struct{}{}, freed: make(chan struct{}, 1)}
	if w.Name == "" {
		w.Name = "worker " + orchestrator.RandomName()
	}
	if w.Interval <= 0 {
		w.Interval = 200 * time.Millisecond
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
	self := orchestrator.Worker{Name: w.Name, WorkPool: w.WorkPool, Interval: heartbeatInterval}
	if err := w.runs.Heartbeat(ctx, self); err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	w.log.Info("worker started", "limit", w.Limit)
	// Runs are not to end because the worker is to; what ends them is the second request.
	whole, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abort(nil)
	err := w.serve(ctx, whole, self)
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
	var seen, reviewed time.Time
	seen = time.Now()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		case <-w.freed:
		}
		err := w.upkeep(ctx, self, &seen, &reviewed)
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

// backoff is how long to wait after so many failures in a row: longer each time, and never the
// same for several workers.
func (w *Worker) backoff(failures int) time.Duration {
	d := w.Interval
	for range failures {
		d = min(2*d, longestBackoff)
	}
	return d + rand.N(d/5+1)
}

// upkeep does what is due from time to time.
func (w *Worker) upkeep(ctx context.Context, self orchestrator.Worker, seen, reviewed *time.Time) error {
	now := time.Now()
	if now.Sub(*seen) >= heartbeatInterval {
		if err := w.runs.Heartbeat(ctx, self); err != nil {
			return err
		}
		*seen = now
	}
	if now.Sub(*reviewed) >= reviewInterval {
		n, err := w.runs.EndLost(ctx)
		if err != nil {
			return err
		}
		if n > 0 {
			w.log.Warn("ended runs that nobody looked after any more", "runs", n)
		}
		*reviewed = now
	}
	return nil
}

func (w *Worker) underWay() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.taken)
}

// take claims what is due, as far as there is room, and has it launched.
func (w *Worker) take(ctx, whole context.Context) error {
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
		lease := orchestrator.NewLease("worker "+strings.TrimPrefix(w.Name, "worker "), w.launcher.Lease)
		// Not to be interrupted: whether the run is ours must be known.
		out, err := w.runs.SetState(context.WithoutCancel(ctx), run.ID, orchestrator.NewState(orchestrator.TypePending, ""), &orchestrator.SetStateOptions{Lease: &lease})
		if errors.Is(err, orchestrator.ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return err
		}
		if out.Status != orchestrator.Accepted {
			w.log.Debug("not claimed", "flow_run", run.ID, "reason", out.Reason)
			continue
		}
		run.State = out.State
		if ctx.Err() != nil {
			w.handBack(whole, run, lease)
			return nil
		}
		w.mu.Lock()
		w.taken[run.ID] = struct{}{}
		w.mu.Unlock()
		w.all.Go(func() { w.launch(whole, run, lease) })
	}
	return nil
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

// launch sees one run to its end.
func (w *Worker) launch(ctx context.Context, run *orchestrator.FlowRun, lease orchestrator.Lease) {
	defer func() {
		w.mu.Lock()
		delete(w.taken, run.ID)
		w.mu.Unlock()
		select {
		case w.freed <- struct{}{}:
		default:
		}
	}()
	log := w.log.With("flow_run", run.ID, "name", run.Name)
	log.Info("submitting flow run")
	if out, err := w.runs.SetState(ctx, run.ID, orchestrator.NewNamedState(orchestrator.TypePending, orchestrator.NameSubmitting, ""), nil); err == nil && out.Status != orchestrator.Accepted {
		log.Info("flow run is not to be run", "reason", out.Reason)
	}
	end, err := w.launcher.Launch(ctx, Launch{Run: run, Lease: lease})
	if end != nil {
		for _, warning := range end.Warnings {
			log.Warn("flow run", "error", warning)
		}
	}
	switch {
	case end != nil && end.State.Type == orchestrator.TypeCrashed: // the message says what err does
		log.Error("flow run crashed", "message", end.State.Message)
	case err != nil:
		log.Error("flow run could not be seen to its end", "error", err)
	default:
		log.Info("flow run ended", "state", end.State.Name, "exit_code", end.ExitCode)
	}
}
