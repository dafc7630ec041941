package prefect

import (
	"context"
	"sync"
)

// locks are locks by name: what the server does not do in one step, this client at least does for
// one flow run or work pool after the other.
type locks struct {
	mu    sync.Mutex
	named map[string]*lock
}

type lock struct {
	wanted int           // by how many
	held   chan struct{} // holds one element while somebody has it
}

// lock waits until the caller alone holds the lock of this name.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	l.mu.Lock()
	if l.named == nil {
		l.named = map[string]*lock{}
	}
	one := l.named[name]
	if one == nil {
		one = &lock{held: make(chan struct{}, 1)}
		l.named[name] = one
	}
	one.wanted++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.wanted--; one.wanted == 0 {
			delete(l.named, name)
		}
	}
	select {
	case one.held <- struct{}{}:
		return func() { <-one.held; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}
