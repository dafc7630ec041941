package orchestrator

import (
	"context"
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
type Watcher struct {
	runs     Watched
	interval time.Duration

	mu      sync.Mutex
	waiters map[*waiter]struct{}
	asking  bool
}

type waiter struct {
	id    string
	until func(State) bool
	got   chan State // buffered: 1
}

// NewWatcher returns a watcher that asks at this interval; 0 is 50 milliseconds.
func NewWatcher(runs Watched, interval time.Duration) *Watcher {
	if interval <= 0 {
		interval = 50 * time.Millisecond
	}
	return &Watcher{runs: runs, interval: interval, waiters: map[*waiter]struct{}{}}
}

// Wait returns the first state of the run that is seen and wanted. A run that is not there (any
// more) is ErrNotFound.
func (w *Watcher) Wait(ctx context.Context, id string, until func(State) bool) (State, error) {
	panic("to be written")
}
