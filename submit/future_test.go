package submit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

func submitted[Out any](t *testing.T, s *shelf) *Future[Out] {
	t.Helper()
	f := known(NewFlow("f", func(context.Context, struct{}) (out Out, err error) { return out, nil }), s)
	future, err := f.Submit(t.Context(), struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	return future
}

func TestFuture(t *testing.T) {
	s := newShelf()
	f := submitted[trainOut](t, s)
	if state, err := f.State(t.Context()); err != nil || state.Type != orchestrator.TypePending {
		t.Errorf("before: %v, %v", state, err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	if _, err := f.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), f.ID()) {
		t.Errorf("Wait at the deadline: %v", err)
	}
	if _, err := f.Result(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Result at the deadline: %v", err)
	}
	why := errors.New("a reason")
	caused, stop := context.WithTimeoutCause(t.Context(), time.Millisecond, why)
	defer stop()
	if _, err := f.Wait(caused); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, why) {
		t.Errorf("Wait at the deadline with a cause: %v", err)
	}
	if state, _ := f.State(t.Context()); state.Type != orchestrator.TypePending {
		t.Errorf("a deadline made it %v", state)
	}

	s.complete(f.ID(), `{"accuracy": 1}`)
	out, err := f.Result(t.Context())
	if err != nil || out != (trainOut{1}) {
		t.Errorf("result %v, %v", out, err)
	}
	s.err = errors.New("away")
	if state, err := f.Wait(t.Context()); err != nil || state.Type != completed {
		t.Errorf("a final state is not asked for again: %v, %v", state, err)
	}
	if err := f.Cancel(t.Context()); err != nil {
		t.Errorf("cancel what has ended: %v", err)
	}
}

func TestFutureOfFailure(t *testing.T) {
	s := newShelf()
	f := submitted[trainOut](t, s)
	s.end(f.ID(), orchestrator.TypeCrashed, "exit code 137", "")
	if state, err := f.Wait(t.Context()); err != nil || state.Type != orchestrator.TypeCrashed {
		t.Errorf("Wait: %v, %v", state, err)
	}
	_, err := f.Result(t.Context())
	failed, ok := errors.AsType[*RunError](err)
	if !ok || failed.Message != "exit code 137" || failed.State.Type != orchestrator.TypeCrashed || failed.FlowRunID != f.ID() {
		t.Errorf("Result: %v", err)
	}
}

func TestFutureCancel(t *testing.T) {
	f := submitted[trainOut](t, newShelf())
	if err := f.Cancel(t.Context()); err != nil {
		t.Fatal(err)
	}
	if state, err := f.Wait(t.Context()); err != nil || state.Type != orchestrator.TypeCancelled {
		t.Errorf("%v, %v", state, err)
	}
}

func TestNoFuture(t *testing.T) {
	var none *Future[int]
	_, stateErr := none.State(t.Context())
	_, waitErr := none.Wait(t.Context())
	_, resultErr := none.Result(t.Context())
	none.OnDone(func(State) { t.Error("done") })
	for what, err := range map[string]error{"State": stateErr, "Wait": waitErr, "Result": resultErr, "Cancel": none.Cancel(t.Context())} {
		if !errors.Is(err, errNoFuture) {
			t.Errorf("%s: %v", what, err)
		}
	}
	yielded := 0
	for f, err := range AsCompleted(t.Context(), none, nil, none) {
		if yielded++; f.ID() != "" || !errors.Is(err, errNoFuture) {
			t.Errorf("%v, %v", f, err)
		}
	}
	if done, pending := Wait(t.Context(), none); yielded != 1 || len(done) != 0 || len(pending) != 1 {
		t.Errorf("%d yielded, %v, %v", yielded, done, pending)
	}
}

func TestAttach(t *testing.T) {
	s := newShelf()
	f := submitted[trainOut](t, s)
	if _, err := Attach[trainOut]("train"); err == nil || err.Error() != `submit: "train" is not the id of a flow run` {
		t.Error(err)
	}
	c, err := OpenClient(t.Context(), &ClientOptions{Home: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other, err := AttachWith[any](c, strings.ToUpper(f.ID()))
	if err != nil || !f.Equal(other) || f.Equal(submitted[int](t, s)) || f.Equal(nil) {
		t.Errorf("%v, %v", other, err)
	}
}

// TestAttachIsShared: the futures of one home have one client, which launches nothing.
func TestAttachIsShared(t *testing.T) {
	home := t.TempDir()
	t.Setenv("FLOWSHIP_HOME", home)
	a, err := Attach[int](uuid.NewString())
	b, bErr := Attach[string](uuid.NewString())
	if err != nil || bErr != nil || a.runs != b.runs {
		t.Errorf("%v and %v (%v, %v)", a.runs, b.runs, err, bErr)
	}
	if _, err := a.State(t.Context()); !errors.Is(err, orchestrator.ErrNotFound) {
		t.Error(err)
	}
	if entries, err := os.ReadDir(home); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	t.Setenv("FLOWSHIP_HOME", t.TempDir())
	if b, err = Attach[string](b.ID()); err != nil || a.runs == b.runs {
		t.Errorf("another home has the same client, or %v", err)
	}
}

// TestClientIsClosed: who waits is told so, and who asks.
func TestClientIsClosed(t *testing.T) {
	c, err := OpenClient(t.Context(), &ClientOptions{Home: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	runs, err := c.openRuns(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run, err := runs.CreateFlowRun(t.Context(), orchestrator.NewFlowRun{Flow: "f", State: orchestrator.NewState(orchestrator.TypeScheduled, "")})
	if err != nil {
		t.Fatal(err)
	}
	f, err := AttachWith[int](c, run.ID)
	if err != nil {
		t.Fatal(err)
	}
	f.OnDone(func(State) { t.Error("done") })
	waited := make(chan error)
	go func() {
		_, err := f.Wait(t.Context())
		waited <- err
	}()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-waited:
		if !errors.Is(err, errClosed) {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("waited in vain")
	}
	if _, err := f.State(t.Context()); !errors.Is(err, errClosed) {
		t.Error(err)
	}
}

func TestOnDone(t *testing.T) {
	s := newShelf()
	f := submitted[int](t, s)
	var mu sync.Mutex
	var called []string
	all := make(chan struct{})
	for _, name := range []string{"a", "b", "c"} {
		f.OnDone(func(state State) {
			mu.Lock()
			defer mu.Unlock()
			called = append(called, name+" "+state.Name)
			if name == "c" {
				// From within one is too late to be the last, not to be called.
				f.OnDone(func(state State) { called = append(called, "d "+state.Name); close(all) })
			}
		})
	}
	s.untilWaiting(t, 1) // one goroutine for all
	s.end(f.ID(), orchestrator.TypeFailed, "", "")
	select {
	case <-all:
	case <-time.After(20 * time.Second):
		t.Fatal("not called")
	}
	s.untilWaiting(t, 0)
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]string{"a Failed", "b Failed", "c Failed", "d Failed"}, called); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOnDoneOutlasts: a backend that is away for a while costs no callback; one that never comes
// back, or knows of no run, no goroutine.
func TestOnDoneOutlasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		f := submitted[int](t, s)
		s.err = errors.New("away")
		var got []State
		f.OnDone(func(state State) { got = append(got, state) })
		time.Sleep(3 * time.Second)
		s.change(func() { s.err = nil })
		s.complete(f.ID(), "1")
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(got) != 1 || got[0].Type != completed {
			t.Errorf("%v", got)
		}

		gone := submitted[int](t, s)
		delete(s.runs, gone.ID())
		gone.OnDone(func(State) { t.Error("called for a run that is gone") })
		silent := submitted[int](t, s)
		synctest.Wait()
		s.change(func() { s.err = errors.New("away") })
		silent.OnDone(func(State) { t.Error("called for a run of which nothing is known") })
		time.Sleep(time.Hour)
	}) // fails if a goroutine is left
}

func TestOnDoneAtOnce(t *testing.T) {
	s := newShelf()
	f := submitted[int](t, s)
	s.complete(f.ID(), "1")
	if _, err := f.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	called := 0
	f.OnDone(func(State) { called++ })
	if called != 1 {
		t.Errorf("%d calls", called)
	}
}

func TestWait(t *testing.T) {
	s := newShelf()
	a, b, c := submitted[int](t, s), submitted[string](t, s), submitted[trainOut](t, s)
	s.complete(b.ID(), `"x"`)
	s.untilWaiting(t, 0)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	go func() {
		s.untilWaiting(t, 2)
		s.complete(a.ID(), "1")
		stop()
	}()
	again, err := AttachWith[int](new(Client), a.ID())
	if err != nil {
		t.Fatal(err)
	}
	done, pending := Wait(ctx, a, b, a, again, c)
	if diff := cmp.Diff([]string{a.ID(), b.ID()}, ids(done)); diff != "" {
		t.Errorf("done (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{c.ID()}, ids(pending)); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
	s.untilWaiting(t, 0)
	if done, _ := Wait(ctx, b, c); len(done) != 1 {
		t.Errorf("after the deadline: %v", done)
	}
}

func ids(futures []AnyFuture) []string {
	names := []string{}
	for _, f := range futures {
		names = append(names, f.ID())
	}
	return names
}

func TestAsCompleted(t *testing.T) {
	s := newShelf()
	a, b, c, d, e := submitted[int](t, s), submitted[string](t, s), submitted[trainOut](t, s), submitted[any](t, s), submitted[bool](t, s)
	s.complete(d.ID(), `1`)
	s.complete(b.ID(), `"x"`)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	next := map[string]func(){
		b.ID(): func() { s.end(e.ID(), orchestrator.TypeFailed, "", "") },
		e.ID(): func() { s.complete(a.ID(), "1") },
		a.ID(): stop,
	}
	var order []string
	var last error
	for f, err := range AsCompleted(ctx, a, b, c, b, d, a, e) {
		order = append(order, f.ID())
		if last = err; err == nil && next[f.ID()] != nil {
			next[f.ID()]()
		}
	}
	if diff := cmp.Diff([]string{b.ID(), d.ID(), e.ID(), a.ID(), c.ID()}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if !errors.Is(last, context.Canceled) || last.Error() != "submit: 1 (of 5) futures unfinished: context canceled" {
		t.Error(last)
	}
	s.untilWaiting(t, 0)
}

// TestAsCompletedTogether: runs that are seen to have ended at once come in the order in which
// they did.
func TestAsCompletedTogether(t *testing.T) {
	now := time.Now()
	ended := make(chan end, 3)
	for _, after := range []int{2, 0, 1} {
		ended <- end{state: State{Timestamp: now.Add(time.Duration(after))}}
	}
	got := []time.Duration{}
	for _, e := range together(ended) {
		got = append(got, e.state.Timestamp.Sub(now))
	}
	if diff := cmp.Diff([]time.Duration{0, 1, 2}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAsCompletedBreak(t *testing.T) {
	s := newShelf()
	futures := []AnyFuture{}
	for range 20 {
		futures = append(futures, submitted[int](t, s))
	}
	s.complete(futures[3].ID(), "1")
	for range AsCompleted(t.Context(), futures...) {
		s.complete(futures[5].ID(), "1")
		break
	}
	go func() {
		s.untilWaiting(t, 14)
		s.complete(futures[19].ID(), "1")
	}()
	for f, err := range AsCompleted(t.Context(), futures[6:]...) {
		if f.ID() != futures[19].ID() || err != nil {
			t.Errorf("%v, %v", f.ID(), err)
		}
		break
	}
	s.untilWaiting(t, 0)
}

// TestManyFutures: a hundred at once, with deadlines of their own.
func TestManyFutures(t *testing.T) {
	s := newShelf()
	futures := []AnyFuture{}
	for range 100 {
		futures = append(futures, submitted[int](t, s))
	}
	var waiting sync.WaitGroup
	for i, f := range futures {
		waiting.Go(func() {
			patience := 10 * time.Millisecond
			if i%2 == 0 {
				s.complete(f.ID(), fmt.Sprint(i))
				patience = 20 * time.Second
			}
			ctx, stop := context.WithTimeout(t.Context(), patience)
			defer stop()
			value, err := f.(*Future[int]).Result(ctx)
			if i%2 == 0 && (err != nil || value != i) {
				t.Errorf("%d: %v, %v", i, value, err)
			}
			if i%2 == 1 && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	waiting.Wait()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	got, unfinished := 0, 0
	for f, err := range AsCompleted(ctx, futures...) {
		if err == nil {
			got++
			continue
		}
		if unfinished++; f == nil || err.Error() != "submit: 50 (of 100) futures unfinished: context deadline exceeded" {
			t.Error(f, err)
		}
	}
	if got != 50 || unfinished != 1 {
		t.Errorf("%d and %d", got, unfinished)
	}
	done, pending := Wait(ctx, slices.Concat(futures, futures)...)
	if len(done) != 50 || len(pending) != 50 {
		t.Errorf("%d done, %d pending", len(done), len(pending))
	}
	s.untilWaiting(t, 0)
}
