package submit

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/flowship/flowship/submit/worker"
)

// How often is looked whether runs that are waited for have been left by those who launched them,
// and how soon for the first time.
const (
	firstAttendance    = 100 * time.Millisecond
	attendanceInterval = time.Second
)

// attendance is that those who wait for runs look after them when nobody else does any more.
type attendance struct {
	mu     sync.Mutex
	waited map[string]*waited
	over   context.CancelFunc // ends the looking
	done   chan struct{}      // closed when that has ended
}

// waited is a run that is waited for.
type waited struct {
	waiters int
	ctx     context.Context // ends with the last of them
	leave   context.CancelCauseFunc
	resumed chan struct{} // closed when it is not looked after here any more; nil: it never was
}

// attend has the run with this id taken up here when it has been left by those who launched it. When
// stop has been called as often as attend, it is left to others.
func (c *Client) attend(runs backend, id string) (stop func()) {
	a := &c.attendance
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.waited[id]
	if w == nil {
		w = &waited{}
		w.ctx, w.leave = context.WithCancelCause(context.Background())
		if a.waited == nil {
			a.waited = map[string]*waited{}
		}
		a.waited[id] = w
	}
	w.waiters++
	if a.over == nil {
		ctx, over := context.WithCancel(context.Background())
		done := make(chan struct{})
		a.over, a.done = over, done
		go func() {
			defer close(done)
			c.lookAfterWaited(ctx, runs)
		}()
	}
	return func() { a.stop(id, w) }
}

func (a *attendance) stop(id string, w *waited) {
	a.mu.Lock()
	w.waiters--
	last := w.waiters == 0
	if last {
		delete(a.waited, id)
		w.leave(worker.ErrLeft)
	}
	resumed, done := w.resumed, a.done
	none := len(a.waited) == 0
	if none && a.over != nil {
		a.over()
		a.over = nil
	}
	a.mu.Unlock()
	if last && resumed != nil {
		<-resumed
	}
	if none {
		<-done
	}
}

// lookAfterWaited takes up runs that are waited for, until ctx ends.
func (c *Client) lookAfterWaited(ctx context.Context, runs backend) {
	timer := time.NewTimer(firstAttendance)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		ids, _ := runs.Abandoned(ctx) // who waits hears what is wrong
		a := &c.attendance
		a.mu.Lock()
		for _, id := range ids {
			w := a.waited[id]
			if w == nil || w.busy() {
				continue
			}
			resumed := make(chan struct{})
			w.resumed = resumed
			go func() { // stop waits for it
				defer close(resumed)
				c.resume(w.ctx, runs, worker.Resume{ID: id, Holder: "waiter"})
			}()
		}
		a.mu.Unlock()
		timer.Reset(attendanceInterval)
	}
}

func (w *waited) busy() bool {
	if w.resumed == nil {
		return false
	}
	select {
	case <-w.resumed:
		return false
	default:
		return true
	}
}

// sweepTime is how long the removing of what killed programs left may hold somebody up.
const sweepTime = 10 * time.Second

// resume takes up a run, and then removes what killed programs left beside it. What cannot be done
// here is left to others.
func (c *Client) resume(ctx context.Context, runs backend, in worker.Resume) {
	c.needExecutor(ctx) // for what is to be launched again
	launcher := c.launcher(runs)
	end, err := launcher.Resume(ctx, in)
	if end == nil && err != nil && ctx.Err() == nil && !in.IfEnded && c.warnOf != nil {
		if _, told := c.unfound.LoadOrStore(in.ID, nil); !told {
			c.warnOf(fmt.Sprintf("nobody looks after flow run %s, and its job cannot be looked for from here: %v", in.ID, err))
		}
	}
	if end == nil || err != nil || !end.State.Type.Final() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sweepTime)
	defer cancel()
	run, err := runs.FlowRun(ctx, in.ID)
	if err != nil {
		return
	}
	if pool, err := runs.WorkPool(ctx, run.WorkPool); err == nil {
		launcher.Sweep(ctx, pool.Type)
	}
}

// settleAbandoned ends the runs that nobody looks after any more and whose jobs have ended. Those
// whose jobs go on, or cannot be looked for, are left as they are.
func (c *Client) settleAbandoned(ctx context.Context, runs backend) {
	ids, err := runs.Abandoned(ctx)
	if err != nil || len(ids) == 0 {
		return
	}
	ctx, stop := leaving(ctx)
	defer stop()
	defer time.AfterFunc(lookTime, stop).Stop()
	var looking sync.WaitGroup
	for few := range slices.Chunk(ids, atATime) {
		for _, id := range few {
			looking.Go(func() { c.resume(ctx, runs, worker.Resume{ID: id, Holder: "observer", IfEnded: true}) })
		}
		looking.Wait()
	}
}

// leaving returns a context whose end, also when it comes from ctx, leaves runs as they are.
func leaving(ctx context.Context) (held context.Context, stop func()) {
	held, leave := context.WithCancelCause(context.WithoutCancel(ctx))
	unlink := context.AfterFunc(ctx, func() { leave(worker.ErrLeft) })
	return held, func() {
		unlink()
		leave(worker.ErrLeft)
	}
}

// atATime is how many jobs are looked for at once.
const atATime = 8

// stopAbandoned stops a run that is CANCELLING if nobody else would, and returns its state then.
func (c *Client) stopAbandoned(ctx context.Context, runs backend, id string, state State) State {
	ids, err := runs.Abandoned(ctx)
	if err != nil || !slices.Contains(ids, id) {
		return state
	}
	held, stop := leaving(ctx)
	defer stop()
	c.resume(held, runs, worker.Resume{ID: id, Holder: "canceller"})
	if run, err := runs.FlowRun(ctx, id); err == nil {
		state = run.State
	}
	return state
}
