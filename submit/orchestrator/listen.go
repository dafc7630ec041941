package orchestrator

import (
	"context"
	"time"
)

// ear is how a [Watcher] hears of changes.
type ear struct {
	end  context.CancelFunc
	done chan struct{} // closed when it hears no more
	idle *time.Timer   // runs while nobody waits

	// Guarded by the watcher's mutex:
	connected bool
	looked    bool // since it is connected
}

const (
	// linger is how long a watcher goes on hearing when nobody waits: the next one may come at once.
	linger = 5 * time.Second
	// seldom is how many times more seldom a watcher asks while it hears.
	seldom = 10
)

// listen sees to it that somebody hears of changes, if the backend tells of any.
func (w *Watcher) listen(ctx context.Context) {
	notifier, ok := w.runs.(Notifier)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ear != nil {
		return
	}
	// It stays for the others when this one leaves.
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	e := &ear{end: end, done: make(chan struct{})}
	e.idle = time.AfterFunc(linger, func() { w.rest(e) })
	w.ear = e
	go func() {
		defer close(e.done)
		notifier.Notify(ctx, w.heard, func(connected bool) { w.connected(e, connected) })
	}()
}

// rest stops hearing if nobody waits.
func (w *Watcher) rest(e *ear) {
	w.mu.Lock()
	idle := w.ear == e && len(w.waiters) == 0
	if idle {
		w.ear = nil
	}
	w.mu.Unlock()
	if idle {
		e.end()
		<-e.done
	}
}

// Close ends what the watcher keeps for the next one who waits. Those who wait go on.
func (w *Watcher) Close() {
	w.mu.Lock()
	e := w.ear
	w.ear = nil
	w.mu.Unlock()
	if e != nil {
		e.idle.Stop()
		e.end()
		<-e.done
	}
}

// heard has the asker look at once, if somebody waits for the run.
func (w *Watcher) heard(id string, _ StateType) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.waiters {
		if one.id == id {
			w.wake()
			return
		}
	}
}

// connected has the asker look, because what happened until now was not heard.
func (w *Watcher) connected(e *ear, connected bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.connected, e.looked = connected, false
	w.wake()
}

// hears reports whether changes are told by now. What happens while a subscription begins may be
// missed, so the first look after that does not count.
func (w *Watcher) hears() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ear == nil || !w.ear.connected {
		return false
	}
	before := w.ear.looked
	w.ear.looked = true
	return before
}

// wake has the asker look again.
func (w *Watcher) wake() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}
