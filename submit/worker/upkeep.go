package worker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// upkeep is what a worker does from time to time.
type upkeep struct {
	*Worker
	self     orchestrator.Worker
	seen     time.Time // when it last said that it is there
	reviewed time.Time // when it last looked for runs that nobody looks after
	swept    time.Time
	sweeping atomic.Bool
}

// take does what is due.
func (u *upkeep) take(ctx, whole context.Context) error {
	now := time.Now()
	if now.Sub(u.seen) >= u.Heartbeat {
		if err := u.runs.Heartbeat(ctx, u.self); err != nil {
			return err
		}
		u.seen = now
	}
	if now.Sub(u.reviewed) >= reviewInterval {
		if err := u.review(ctx, whole); err != nil {
			return err
		}
		u.reviewed = now
	}
	if now.Sub(u.swept) >= sweepInterval && u.sweeping.CompareAndSwap(false, true) {
		u.swept = now
		u.all.Go(func() {
			defer u.sweeping.Store(false)
			u.sweep(ctx)
		})
	}
	return nil
}

// review ends the runs that are lost, and takes up those of the pool whose jobs may go on.
func (u *upkeep) review(ctx, whole context.Context) error {
	ids, err := u.runs.Abandoned(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		u.mu.Lock()
		_, ours := u.taken[id]
		if !ours {
			u.taken[id] = struct{}{}
		}
		u.mu.Unlock()
		if !ours {
			u.all.Go(func() { u.resume(whole, id) })
		}
	}
	n, err := u.runs.EndLost(ctx)
	if n > 0 {
		u.log.Warn("ended runs that nobody looked after any more", "runs", n)
	}
	return err
}

// resume sees a run of the pool to its end that somebody else had launched.
func (w *Worker) resume(ctx context.Context, id string) {
	run, err := w.runs.FlowRun(ctx, id)
	if err != nil || run.WorkPool != w.WorkPool {
		w.drop(id)
		return
	}
	log := w.log.With("flow_run", run.ID, "name", run.Name)
	end, err := w.launcher.Resume(ctx, Resume{ID: id, Holder: w.holder(), Worker: w.Name, Taken: func() { log.Info("flow run was taken up") }})
	if end == nil {
		w.drop(id)
		if err == nil {
			return
		}
		if _, told := w.unfound.LoadOrStore(id, nil); !told {
			log.Warn("nobody looks after the flow run, and its job cannot be looked for", "infrastructure", run.Infrastructure, "error", err)
		}
		return
	}
	w.unfound.Delete(id)
	tell(log, end, err)
	w.free(id)
}

// sweep removes what killed programs left where the pool's jobs run.
func (w *Worker) sweep(ctx context.Context) {
	pool, err := w.runs.WorkPool(ctx, w.WorkPool)
	if err != nil {
		return // who looks for work says so
	}
	swept, err := w.launcher.Sweep(ctx, pool.Type)
	if err != nil && ctx.Err() == nil {
		w.log.Warn("what killed programs left could not be removed", "error", err)
	}
	if len(swept) > 0 {
		w.log.Info("removed what killed programs had left", "jobs", swept)
	}
}
