package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// Longest time without any progress before a server is given up. Some SDKs would ask it again
// and again as long as their context lives.
const defaultPatience = time.Minute

// slowest is the rate, in bytes a second, at which a link is still waited for. What a driver has
// read may be on its way that long without a sign.
const slowest = 64 << 10

// patience ends an operation in which nothing moves any more.
type patience struct {
	timer *time.Timer
	limit time.Duration
	stop  context.CancelCauseFunc
}

// patiently returns a context for an operation that ends when it makes no progress for the
// store's patience, and for as long as the pending bytes may take.
func (s *Store) patiently(ctx context.Context, pending int64) (context.Context, *patience) {
	ctx, stop := context.WithCancelCause(ctx)
	p := &patience{limit: s.patience + time.Duration(pending/slowest)*time.Second, stop: stop}
	p.timer = time.AfterFunc(p.limit, func() {
		stop(fmt.Errorf("%w: no progress within %s", ErrUnavailable, p.limit))
	})
	return ctx, p
}

// moved notes progress.
func (p *patience) moved() { p.timer.Reset(p.limit) }

// end releases what the operation held, and returns err or why it was given up.
func (p *patience) end(ctx context.Context, err error) error {
	p.timer.Stop()
	err = p.told(ctx, err)
	p.stop(nil)
	return err
}

// told returns err, or why the operation was given up: an SDK knows only of a cancelled context.
func (p *patience) told(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if err == nil || !errors.Is(cause, ErrUnavailable) {
		return err
	}
	if status := statusOf(err); status != 0 {
		return fmt.Errorf("%w; the server's answers were %d", cause, status)
	}
	return cause
}

// insist repeats a request where the SDK, which repeats most, does not. again, if not nil,
// prepares the repetition, and reports whether it can be.
func (s *Store) insist(ctx context.Context, request func() error, again func() bool) error {
	for attempt := 1; ; attempt++ {
		err := request()
		if !s.unrepeated(err) || attempt == 4 {
			return err
		}
		if again != nil && !again() || pause(ctx, attempt) != nil {
			return err
		}
	}
}

// unrepeated tells what the SDKs leave out: Amazon's the status that only other servers of S3
// use, Google's a connection that ends before there is an answer.
func (s *Store) unrepeated(err error) bool {
	switch s.scheme {
	case "s3":
		return statusOf(err) == http.StatusTooManyRequests
	case "gs":
		return statusOf(err) == 0 && errors.Is(err, io.EOF)
	}
	return false
}

// pause waits before the attempt with this number, the first repetition being 1: twice as long
// each time, and never as long as others do.
func pause(ctx context.Context, attempt int) error {
	longest := 100 * time.Millisecond << min(attempt, 6)
	t := time.NewTimer(longest/2 + rand.N(longest/2))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
