package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// ErrLeft is the cause of the end of a context whose runs are to be left as they are, for others to
// take up.
var ErrLeft = errors.New("nobody waits for it here any more")

// errTakenUp: whoever was to look after the run gave no sign of life for so long that another does.
var errTakenUp = fmt.Errorf("worker: somebody else has taken the run up: %w", orchestrator.ErrLeaseLost)

// Resume is a run to be taken up, see [orchestrator.Resumer].
type Resume struct {
	ID     string
	Holder string // what the caller is to the run, see [orchestrator.Lease]
	Worker string // as in [Launch]
	// IfEnded takes up only a run whose job has ended. Of another one it is noted that its job goes on.
	IfEnded bool
	// Taken, if not nil, is called when the run was taken up.
	Taken func()
}

// Resume takes up a run that nobody looks after any more, and goes on with it as [Launcher.Launch]
// does from the moment at which the job was accepted: it finds the job, waits for it, stops it if
// the run is CANCELLING, takes what it left and launches it again if it is to be. What the job
// printed is not written twice. If its job is not there any more, the run ends as its record says
// or, without one, CRASHED.
//
// Without an End, there is nothing to be done here: somebody looks after the run, or its job, which
// goes on, was not to be waited for. An error means that the end of the run is not known, often
// because the job cannot be looked for from here; then the run is left as it was.
func (l *Launcher) Resume(ctx context.Context, in Resume) (*End, error) {
	run, err := l.Runs.FlowRun(ctx, in.ID)
	if err != nil {
		return nil, wrapped(err)
	}
	if !run.State.UnderWay() {
		return nil, nil
	}
	a := &attempt{Launcher: l, Launch: Launch{Run: run, Lease: orchestrator.NewLease(in.Holder, l.Lease), Worker: in.Worker}, attempts: run.RunCount, found: true}
	ended, err := a.look(ctx)
	if err != nil {
		return nil, wrapped(err)
	}
	// Whether the lease is ours must be known.
	whole := context.WithoutCancel(ctx)
	if taken, err := l.Runs.TakeUp(whole, run.ID, a.Launch.Lease); !taken || err != nil {
		return nil, wrapped(err)
	}
	now, err := l.Runs.FlowRun(whole, run.ID)
	changed := err == nil && (now.Infrastructure != run.Infrastructure || now.State.AwaitsRetry() != run.State.AwaitsRetry())
	if err != nil || changed || in.IfEnded && !ended {
		return nil, wrapped(errors.Join(err, l.Runs.Release(whole, a.Launch.Lease)))
	}
	a.Run = now
	if in.Taken != nil {
		in.Taken()
	}
	var due *time.Time
	if now.State.AwaitsRetry() {
		due = &now.State.Scheduled
	}
	return a.toItsEnd(ctx, a.find, due)
}

// look finds out whether the job has ended, without touching it. Its error is that this cannot be
// known here.
func (a *attempt) look(ctx context.Context) (ended bool, err error) {
	if err := a.place(ctx); err != nil || a.Run.State.AwaitsRetry() {
		return false, err
	}
	job, err := a.infra.Find(ctx, a.Run.Infrastructure, &launch.FindOptions{Configuration: a.configuration})
	if errors.Is(err, launch.ErrNotFound) {
		return true, nil
	}
	return err == nil && job.Ended(), err
}

// find finds the job for good.
func (a *attempt) find(ctx context.Context) (*launch.Running, error) {
	opts := &launch.FindOptions{Configuration: a.configuration}
	if a.elsewhere != nil {
		opts.Take = a.elsewhere.Take
	}
	if a.speaks() {
		written, err := a.written(ctx)
		if err != nil {
			return nil, err
		}
		a.scribe = execute.NewScribe(ctx, a.Runs, a.Run.ID, &execute.ScribeOptions{Written: written})
		opts.Stdout, opts.Stderr, opts.Notes = a.scribe.Stdout, a.scribe.Stderr, a.scribe.Notes
	}
	running, err := a.infra.Find(ctx, a.Run.Infrastructure, opts)
	if err == nil && a.Run.State.Type == orchestrator.TypePending {
		a.begun(context.WithoutCancel(ctx))
	}
	return running, err
}

// written counts the lines of its output that the present attempt has in the logs. They come after
// the state from which it began.
func (a *attempt) written(ctx context.Context) (map[string]int, error) {
	states, err := a.Runs.States(ctx, a.Run.ID)
	if err != nil {
		return nil, err
	}
	var began time.Time
	for _, s := range states {
		if s.Type == orchestrator.TypePending || s.Type == orchestrator.TypeScheduled {
			began = s.Timestamp
		}
	}
	const page = 1000
	lines, filter := map[string]int{}, orchestrator.LogFilter{FlowRunID: a.Run.ID, Limit: page}
	for {
		logs, err := a.Runs.Logs(ctx, filter)
		if err != nil {
			return nil, err
		}
		for _, l := range logs {
			filter.After = l.Number
			if l.Timestamp.After(began) {
				lines[l.Name]++
			}
		}
		if len(logs) < page {
			return lines, nil
		}
	}
}

// wasGone ends a run whose job is not there any more, as its record says.
func (a *attempt) wasGone(ctx context.Context) (end *End, again *time.Time, err error) {
	a.gone = true
	again, err = a.conclude(ctx, &launch.Exit{Code: execute.ExitUnavailable}, false, false)
	return &a.end, again, wrapped(err)
}

// goesOnElsewhere reports whether the run's lease was lost to somebody who looks after this job. Where
// nobody can be asked, a job that may be somebody else's is not to be stopped.
func (a *attempt) goesOnElsewhere(ctx context.Context, running *launch.Running) bool {
	run, err := a.Runs.FlowRun(ctx, a.Run.ID)
	if err != nil {
		return a.elsewhere != nil && !errors.Is(err, orchestrator.ErrNotFound)
	}
	return run.State.UnderWay() && run.Infrastructure == running.ID()
}

// Sweep removes what killed programs left where jobs of a work pool of this type run, but for the
// jobs of runs that have not ended, or are not known here: a job that its flow has PAUSED waits. It
// returns what the platform called them.
func (l *Launcher) Sweep(ctx context.Context, poolType string) ([]string, error) {
	infra, err := l.Infrastructure(poolType)
	if err != nil {
		return nil, wrapped(err)
	}
	swept, err := infra.Sweep(ctx, func(label func(string) string) bool {
		run, err := l.Runs.FlowRun(ctx, label(labelFlowRun))
		return err != nil || !run.State.Type.Final()
	})
	return swept, wrapped(err)
}
