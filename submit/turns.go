package submit

import (
	"context"
	"sync"
)

// turns has those who store the same object do so one after another: all but the first find it
// there. The zero value is ready for use.
type turns struct {
	mu    sync.Mutex
	taken map[string]chan struct{} // closed at the end of the turn
}

// take waits for the turn to store the object with the key.
func (t *turns) take(ctx context.Context, key string) (end func(), err error) {
	for {
		t.mu.Lock()
		taken := t.taken[key]
		if taken == nil {
			if t.taken == nil {
				t.taken = map[string]chan struct{}{}
			}
			mine := make(chan struct{})
			t.taken[key] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				defer t.mu.Unlock()
				delete(t.taken, key)
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-taken:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
