package orchestrator_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// leaser answers renewals with what the test sends.
type leaser struct {
	orchestrator.Leaser
	answers chan error
}

func (l *leaser) Renew(ctx context.Context, _ orchestrator.Lease) error {
	select {
	case err := <-l.answers:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *leaser) answer(t *testing.T, err error) {
	t.Helper()
	select {
	case l.answers <- err:
	case <-time.After(20 * time.Second):
		t.Fatal("the lease is not renewed")
	}
}

func TestKeep(t *testing.T) {
	l := &leaser{answers: make(chan error)}
	ctx, cancel := context.WithCancel(t.Context())
	held, stop := orchestrator.Keep(ctx, l, orchestrator.NewLease("executor", 6*time.Millisecond))
	defer stop()
	for _, err := range []error{nil, errors.New("disk full"), nil} {
		l.answer(t, err)
	}
	if err := held.Err(); err != nil {
		t.Errorf("held by a holder that lives: %v", err)
	}
	cancel()
	if !errors.Is(held.Err(), context.Canceled) {
		t.Errorf("its context has ended: %v", held.Err())
	}
	// What the end of the context sets off takes time; the lease is still needed.
	l.answer(t, nil)
	l.answer(t, nil)
}

func TestKeepLost(t *testing.T) {
	l := &leaser{answers: make(chan error)}
	held, stop := orchestrator.Keep(t.Context(), l, orchestrator.NewLease("executor", 6*time.Millisecond))
	defer stop()
	l.answer(t, orchestrator.ErrLeaseLost)
	select {
	case <-held.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the holder is not told")
	}
	if err := context.Cause(held); !errors.Is(err, orchestrator.ErrLeaseLost) {
		t.Errorf("cause %v", err)
	}
}

func TestLeaseInterval(t *testing.T) {
	if got := orchestrator.NewLease("executor", 0).Interval(); got != 5*time.Second {
		t.Errorf("a lease of the usual length is renewed every %v", got)
	}
}
