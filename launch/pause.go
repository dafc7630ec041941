package launch

import (
	"context"
	"time"
)

// Pause is how long drivers wait before they ask a platform again that did not answer: 50 ms, and
// each time twice as long, up to 1.6 s. The zero value is that before the first try.
type Pause struct{ tried int }

// Next is the length of the next pause.
func (p *Pause) Next() time.Duration {
	p.tried = min(p.tried+1, 6)
	return 25 * time.Millisecond << p.tried
}

// Wait pauses, or until ctx ends.
func (p *Pause) Wait(ctx context.Context) {
	timer := time.NewTimer(p.Next())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
