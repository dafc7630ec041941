package launch

import (
	"context"
	"errors"
	"sync"
)

// errClosed is what those get who wait while the driver is closed.
var errClosed = errors.New("the driver was closed")

// remembered is how many jobs a driver knows after their end has been told.
const remembered = 256

// WatchFunc waits for the end of a job. Final says that it has ended for good: what is not final may
// be seen otherwise by a further watch, when the job goes on, or nobody knows.
type WatchFunc[J any] func(ctx context.Context, id string, job J) (exit *Exit, err error, final bool)

// Watches are the jobs that a driver knows, each of which is watched once, however many wait for it:
// for drivers of platforms that do not tell by themselves that a job has ended. J is what a driver
// knows of a job. They are safe for concurrent use.
//
// A job that was never waited for is never forgotten; of the others, the last few hundred are known.
type Watches[J any] struct {
	run    WatchFunc[J]
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu   sync.Mutex
	jobs map[string]*watched[J]
	told []string // ids of those whose end somebody knows, the oldest first
}

// watched is a job. Its fields below the first empty line are guarded by the watches.
type watched[J any] struct {
	job   J
	after <-chan struct{} // closed when it may be watched; nil for at once

	last  *watching // the latest watch; nil before there is one
	final bool
	told  bool
	// replaced says that another one has taken its place.
	replaced bool
}

// watching is one watch of a job: who waits for it is told of this one, also when the next has begun.
type watching struct {
	done  chan struct{}      // closed when it has ended, with what is below
	leave context.CancelFunc // ends it
	exit  *Exit
	err   error
}

// NewWatches returns watches that know no job.
func NewWatches[J any](run WatchFunc[J]) *Watches[J] {
	w := &Watches[J]{run: run, jobs: map[string]*watched[J]{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// Close ends all waiting. Jobs go on.
func (w *Watches[J]) Close() {
	w.mu.Lock()
	w.cancel() // from here on, no watch begins
	w.mu.Unlock()
	w.all.Wait()
}

// Err is an error after [Watches.Close].
func (w *Watches[J]) Err() error {
	if w.ctx.Err() != nil {
		return errClosed
	}
	return nil
}

// Job returns a job that is known.
func (w *Watches[J]) Job(id string) (job J, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if j := w.jobs[id]; j != nil {
		return j.job, true
	}
	return job, false
}

// Add has a job known, unless it is already, and returns the one that is known.
func (w *Watches[J]) Add(id string, job J) J {
	w.mu.Lock()
	defer w.mu.Unlock()
	if j := w.jobs[id]; j != nil {
		return j.job
	}
	w.jobs[id] = &watched[J]{job: job}
	return job
}

// Replace has a job known in place of the one that is. Who waits for that waits for this one; a watch
// of the old one has ended before one of the new one begins.
func (w *Watches[J]) Replace(id string, job J) {
	w.mu.Lock()
	defer w.mu.Unlock()
	j := &watched[J]{job: job}
	switch old := w.jobs[id]; {
	case old == nil:
	case old.last == nil: // what that would have had to wait for
		j.after = old.after
	default:
		j.after, old.replaced = old.last.done, true
		old.last.leave()
	}
	w.jobs[id] = j
}

// Begin watches a job that is known, before anybody waits for it.
func (w *Watches[J]) Begin(id string) error {
	_, _, err := w.begin(id)
	return err
}

// begin returns a job and its watch, which may have ended if that was for good.
func (w *Watches[J]) begin(id string) (*watched[J], *watching, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	j := w.jobs[id]
	switch {
	case j == nil:
		return nil, nil, ErrNotFound
	case w.ctx.Err() != nil:
		return nil, nil, errClosed
	case j.last == nil:
		w.watch(id, j)
	}
	select {
	case <-j.last.done:
		if !j.final {
			w.watch(id, j)
		}
	default:
	}
	return j, j.last, nil
}

// watch begins to watch a job; the caller holds the lock.
func (w *Watches[J]) watch(id string, j *watched[J]) {
	ctx, leave := context.WithCancel(w.ctx)
	now := &watching{done: make(chan struct{}), leave: leave}
	j.last = now
	w.all.Go(func() {
		defer leave()
		if j.after != nil {
			<-j.after
		}
		exit, err, final := w.run(ctx, id, j.job)
		if w.ctx.Err() != nil && !final {
			err = errClosed
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		now.exit, now.err, j.final = exit, err, final
		close(now.done)
	})
}

// Wait waits for the end of a job that is known, as [Driver.Wait] does.
func (w *Watches[J]) Wait(ctx context.Context, id string) (*Exit, error) {
	for {
		j, now, err := w.begin(id)
		if err != nil {
			return nil, err
		}
		select {
		case <-now.done:
		default: // what has ended is told even if ctx has
			select {
			case <-now.done:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		if exit, err, ok := w.tell(id, j, now); ok {
			return exit, err
		}
	}
}

// tell returns how the watch of a job ended, unless there is another one to wait for.
func (w *Watches[J]) tell(id string, j *watched[J], now *watching) (exit *Exit, err error, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if j.replaced && !j.final {
		return nil, nil, false
	}
	w.remember(id, j)
	if now.exit == nil {
		return nil, now.err, true
	}
	told := *now.exit
	return &told, now.err, true
}

// remember notes that the end of a job has been told, and forgets the job of which that is longest
// ago. The caller holds the lock.
func (w *Watches[J]) remember(id string, j *watched[J]) {
	if j.told || !j.final {
		return
	}
	j.told = true
	if w.told = append(w.told, id); len(w.told) > remembered {
		if old := w.jobs[w.told[0]]; old != nil && old.told { // else another one has its id
			delete(w.jobs, w.told[0])
		}
		w.told = w.told[1:]
	}
}

// Ended reports whether the end of a job is known.
func (w *Watches[J]) Ended(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	j := w.jobs[id]
	return j != nil && j.final
}

// UnderWay are the jobs that are known and whose end is not.
func (w *Watches[J]) UnderWay() []J {
	w.mu.Lock()
	defer w.mu.Unlock()
	var jobs []J
	for _, j := range w.jobs {
		if !j.final {
			jobs = append(jobs, j.job)
		}
	}
	return jobs
}
