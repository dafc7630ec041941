package orchestrator

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Watched is what a [Watcher] asks.
type Watched interface {
	StateReader
	LossEnder
}

// Watcher tells any number of those who wait what becomes of their flow runs. It asks once for all
// of them, and only while somebody waits; a backend that has gone away for a while is asked
// again. It is safe for concurrent use.
//
// It asks without a goroutine of its own: one of those who wait asks for all, and when it leaves,
// another one goes on. Of a backend that is a [Notifier] it also hears, and then asks seldom; that
// ends some seconds after the last one has left, or with Close.
type Watcher struct {
	runs     Watched
	interval time.Duration
	asker    chan struct{} // holds one element while somebody asks
	news     chan struct{} // somebody came, or something happened; buffered: 1

	mu      sync.Mutex
	waiters map[*waiter]struct{}
	ear     *ear // nil while nobody listens

	// Of the asker:
	lossesAsked time.Time // when EndLost was last called
	lossesErr   error     // and what it said
}

type waiter struct {
	id      string
	until   func(State) bool
	got     chan answer // buffered: 1
	failing time.Time   // since when there are only errors; zero: there are none. Of the asker.
}

type answer struct {
	state State
	err   error
}

const (
	// lossInterval is how often runs are looked for that nobody looks after any more.
	lossInterval = time.Second
	// errorPatience is for how long a backend may answer with errors only.
	errorPatience = 30 * time.Second
	// longestPause is the longest one between two attempts to reach a backend that fails.
	longestPause = 2 * time.Second
)

// Paced is a backend that says how often it is to be asked for states.
type Paced interface {
	Interval() time.Duration
}

// NewWatcher returns a watcher that asks at this interval; 0 is what a [Paced] backend says, and
// 50 milliseconds for others.
func NewWatcher(runs Watched, interval time.Duration) *Watcher {
	if paced, ok := runs.(Paced); ok && interval <= 0 {
		interval = paced.Interval()
	}
	if interval <= 0 {
		interval = 50 * time.Millisecond
	}
	return &Watcher{
		runs: runs, interval: interval, waiters: map[*waiter]struct{}{},
		asker: make(chan struct{}, 1), news: make(chan struct{}, 1),
	}
}

// Wait returns the first state of the run that is seen and wanted, the present one included. A
// run that is not there (any more) is ErrNotFound; runs that are lost are ended meanwhile, as
// [LossEnder] says. When ctx ends, the error is its cause. That the backend fails is an error only
// when it has failed for half a minute.
//
// What until does shall be quick: others wait for it.
func (w *Watcher) Wait(ctx context.Context, id string, until func(State) bool) (State, error) {
	if ctx.Err() != nil {
		return State{}, context.Cause(ctx)
	}
	me := &waiter{id: id, until: until, got: make(chan answer, 1)}
	w.mu.Lock()
	w.waiters[me] = struct{}{}
	w.mu.Unlock()
	defer w.remove(me)
	w.wake()
	select {
	case a := <-me.got:
		return a.state, a.err
	case <-ctx.Done():
		return State{}, context.Cause(ctx)
	case w.asker <- struct{}{}:
	}
	defer func() { <-w.asker }()
	return w.ask(ctx, me)
}

func (w *Watcher) remove(one *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiters, one)
	if len(w.waiters) == 0 && w.ear != nil {
		w.ear.idle.Reset(linger)
	}
}

// ask asks for everybody until me has its answer.
func (w *Watcher) ask(ctx context.Context, me *waiter) (State, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	pause := w.interval
	// Who gets its answer at once needs not hear.
	hear := sync.OnceFunc(func() { w.listen(ctx) })
	for {
		often := w.interval
		if w.hears() {
			often *= seldom
		}
		err := w.answer(ctx)
		select {
		case a := <-me.got:
			return a.state, a.err
		default:
		}
		ended := 0
		if err == nil && time.Since(w.lossesAsked) >= max(lossInterval, w.interval) {
			ended, w.lossesErr = w.runs.EndLost(ctx)
			w.lossesAsked = time.Now()
		}
		// An error may be nothing but the end of ctx, which is no concern of the others.
		if ctx.Err() != nil {
			w.lossesAsked, w.lossesErr = time.Time{}, nil
			return State{}, context.Cause(ctx)
		}
		if err == nil {
			err = w.lossesErr
		}
		news := w.news
		switch {
		case ended > 0:
			continue
		case err == nil:
			pause = often
		default:
			pause, news = min(2*min(pause, longestPause), max(longestPause, w.interval)), nil
		}
		w.note(err)
		select {
		case a := <-me.got:
			return a.state, a.err
		default:
		}
		hear()
		timer.Reset(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-news:
		}
	}
}

// answer asks for the states, and gives them to those who want them.
func (w *Watcher) answer(ctx context.Context) error {
	select {
	case <-w.news: // who came is among them
	default:
	}
	waiters := w.everybody()
	ids, seen := make([]string, 0, len(waiters)), map[string]bool{}
	for _, one := range waiters {
		if !seen[one.id] {
			seen[one.id] = true
			ids = append(ids, one.id)
		}
	}
	states, err := w.runs.CurrentStates(ctx, ids)
	if err != nil {
		return err
	}
	for _, one := range waiters {
		state, there := states[one.id]
		switch {
		case !there:
			w.give(one, answer{err: fmt.Errorf("orchestrator: %q: %w", one.id, ErrNotFound)})
		case one.until(state):
			w.give(one, answer{state: state})
		}
	}
	return nil
}

// note keeps for everybody since when there are only errors, and tells those who saw nothing
// else for too long.
func (w *Watcher) note(err error) {
	for _, one := range w.everybody() {
		switch {
		case err == nil:
			one.failing = time.Time{}
		case one.failing.IsZero():
			one.failing = time.Now()
		case time.Since(one.failing) >= errorPatience:
			w.give(one, answer{err: fmt.Errorf("orchestrator: wait for %q: %w", one.id, err)})
		}
	}
}

func (w *Watcher) everybody() []*waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiters := make([]*waiter, 0, len(w.waiters))
	for one := range w.waiters {
		waiters = append(waiters, one)
	}
	return waiters
}

// give answers one, who is not asked for any more.
func (w *Watcher) give(one *waiter, a answer) {
	one.got <- a
	w.remove(one)
}
