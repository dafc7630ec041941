package submit

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

// shelf is a backend whose runs do what the test says, when it says so.
type shelf struct {
	mu      sync.Mutex
	changed chan struct{} // closed at the next change
	runs    map[string]*shelved
	order   []string
	waiting int
	err     error // what everything fails with
}

type shelved struct {
	inv    Invocation
	mode   string
	state  State
	result string
}

func newShelf() *shelf { return &shelf{changed: make(chan struct{}), runs: map[string]*shelved{}} }

func (s *shelf) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *shelf) add(inv Invocation, mode string) (*Run, error) {
	id := uuid.NewString()
	s.change(func() {
		s.runs[id] = &shelved{inv: inv, mode: mode, state: orchestrator.NewState(orchestrator.TypePending, "")}
		s.order = append(s.order, id)
	})
	return &Run{ID: id}, nil
}

// end ends a run.
func (s *shelf) end(id string, t orchestrator.StateType, message, result string) {
	s.change(func() {
		s.runs[id].state, s.runs[id].result = orchestrator.NewState(t, message), result
	})
}

func (s *shelf) complete(id, result string) { s.end(id, orchestrator.TypeCompleted, "", result) }

func (s *shelf) Run(ctx context.Context, inv Invocation) (*Run, error) {
	run, _ := s.add(inv, "run")
	state, err := s.Wait(ctx, run.ID)
	if ctx.Err() != nil {
		s.end(run.ID, orchestrator.TypeCancelled, "cancelled", "")
		state, err = s.State(context.WithoutCancel(ctx), run.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	run.State, run.Result = state, json.RawMessage(s.runs[run.ID].result)
	return run, err
}

func (s *shelf) Submit(_ context.Context, inv Invocation) (*Run, error) { return s.add(inv, "submit") }

func (s *shelf) SubmitToWorkPool(_ context.Context, inv Invocation) (*Run, error) {
	return s.add(inv, "queue")
}

func (s *shelf) look(id string) (State, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	run, ok := s.runs[id]
	switch {
	case s.err != nil:
		return State{}, nil, s.err
	case !ok:
		return State{}, nil, fmt.Errorf("%w: %q", orchestrator.ErrNotFound, id)
	}
	return run.state, s.changed, nil
}

func (s *shelf) State(ctx context.Context, id string) (State, error) {
	if err := context.Cause(ctx); err != nil {
		return State{}, err
	}
	state, _, err := s.look(id)
	return state, err
}

func (s *shelf) Wait(ctx context.Context, id string) (State, error) {
	s.change(func() { s.waiting++ })
	defer s.change(func() { s.waiting-- })
	for {
		if err := context.Cause(ctx); err != nil {
			return State{}, err
		}
		state, changed, err := s.look(id)
		if err != nil || state.Type.Final() {
			return state, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (s *shelf) Cancel(_ context.Context, id string) (State, error) {
	if state, _, err := s.look(id); err != nil {
		return state, err
	} else if state.Type.Final() {
		return state, fmt.Errorf("submit: %w", &EndedError{State: state})
	}
	s.end(id, orchestrator.TypeCancelled, "cancelled", "")
	state, _, err := s.look(id)
	return state, err
}

func (s *shelf) StoredResult(_ context.Context, id string) (json.RawMessage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runs[id].state.Type != completed {
		return nil, &EndedError{State: s.runs[id].state}
	}
	return json.RawMessage(s.runs[id].result), nil
}

// until waits for a condition of the shelf.
func (s *shelf) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s.mu.Lock()
		ok, changed := holds(), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// untilWaiting waits until so many wait.
func (s *shelf) untilWaiting(t *testing.T, n int) {
	t.Helper()
	s.until(t, fmt.Sprintf("%d wait", n), func() bool { return s.waiting == n })
}

// known has the flow look as if Main had been called with it.
func known[In, Out any](f *Flow[In, Out], s submitter) *Flow[In, Out] {
	source := "main.go"
	f.definition.main.Store(&source)
	f.binding.runs = s
	return f
}
