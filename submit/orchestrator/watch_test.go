package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// watched is a backend whose runs the test sets.
type watched struct {
	mu                sync.Mutex
	states            map[string]orchestrator.State
	asked, askedLoss  int
	statesErr, endErr error
	lost              []string // end with the next EndLost
	endHangs          bool     // the next EndLost takes until its context ends
}

func newWatched(ids ...string) *watched {
	w := &watched{states: map[string]orchestrator.State{}}
	w.set(orchestrator.TypeRunning, ids...)
	return w
}

func (w *watched) set(typ orchestrator.StateType, ids ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		w.states[id] = orchestrator.NewState(typ, "")
	}
}

func (w *watched) fail(states, end error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.statesErr, w.endErr = states, end
}

func (w *watched) queries() (states, losses int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked, w.askedLoss
}

func (w *watched) CurrentStates(ctx context.Context, ids []string) (map[string]orchestrator.State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if w.statesErr != nil {
		return nil, w.statesErr
	}
	states := map[string]orchestrator.State{}
	for _, id := range ids {
		if s, ok := w.states[id]; ok {
			states[id] = s
		}
	}
	return states, nil
}

func (w *watched) EndLost(ctx context.Context) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.askedLoss++
	if w.endHangs {
		w.endHangs = false
		<-ctx.Done()
		return 0, ctx.Err()
	}
	if w.endErr != nil {
		return 0, w.endErr
	}
	n := len(w.lost)
	for _, id := range w.lost {
		w.states[id] = orchestrator.NewState(orchestrator.TypeCrashed, "lost")
	}
	w.lost = nil
	return n, nil
}

func ended(s orchestrator.State) bool { return s.Type.Final() }

// wait is a call of Wait that goes on.
type wait struct {
	done  chan struct{}
	state orchestrator.State
	err   error
	took  time.Duration
}

func startWait(ctx context.Context, w *orchestrator.Watcher, id string) *wait {
	began, it := time.Now(), &wait{done: make(chan struct{})}
	go func() {
		defer close(it.done)
		it.state, it.err = w.Wait(ctx, id, ended)
		it.took = time.Since(began)
	}()
	return it
}

func (it *wait) want(t *testing.T, typ orchestrator.StateType, err error, took time.Duration) {
	t.Helper()
	<-it.done
	if it.state.Type != typ || !errors.Is(it.err, err) || it.took != took {
		t.Errorf("%q, error %v, after %v; want %q, %v, after %v", it.state.Type, it.err, it.took, typ, err, took)
	}
}

const tick = 100 * time.Millisecond

func TestWaitAnswersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := newWatched("goes on")
		runs.set(orchestrator.TypeCompleted, "done")
		w := orchestrator.NewWatcher(runs, tick)
		startWait(t.Context(), w, "done").want(t, "COMPLETED", nil, 0)
		startWait(t.Context(), w, "nobody").want(t, "", orchestrator.ErrNotFound, 0)
		other := startWait(t.Context(), w, "goes on")
		time.Sleep(tick / 2)
		startWait(t.Context(), w, "done").want(t, "COMPLETED", nil, 0)
		runs.set(orchestrator.TypeFailed, "goes on")
		<-other.done
		if other.state.Type != orchestrator.TypeFailed || other.took > 2*tick {
			t.Errorf("%s after %v", other.state.Type, other.took)
		}
	})
}

func TestManyWaitersAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ids []string
		for i := range 100 {
			ids = append(ids, fmt.Sprint(i))
		}
		runs := newWatched(ids...)
		w := orchestrator.NewWatcher(runs, tick)
		var waits []*wait
		for _, id := range ids {
			waits = append(waits, startWait(t.Context(), w, id))
		}
		synctest.Wait()
		before, beforeLoss := runs.queries()
		time.Sleep(50*tick + tick/2)
		after, afterLoss := runs.queries()
		if after-before != 50 || afterLoss-beforeLoss != 5 {
			t.Errorf("%d looks at states, %d at losses in %v", after-before, afterLoss-beforeLoss, 50*tick)
		}
		runs.set(orchestrator.TypeCompleted, ids...)
		for _, it := range waits {
			it.want(t, "COMPLETED", nil, 51*tick)
		}
		// Nobody waits, nobody asks.
		before, _ = runs.queries()
		time.Sleep(10 * tick)
		if after, _ = runs.queries(); after != before {
			t.Errorf("%d looks for nobody", after-before)
		}
	})
}

// Who asks for the others may leave.
func TestAskerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := newWatched("a")
		w := orchestrator.NewWatcher(runs, tick)
		reason := errors.New("enough")
		var leavers []*wait
		for i := range 10 {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Duration(i+1)*time.Second, reason)
			defer cancel()
			leavers = append(leavers, startWait(ctx, w, "a"))
			synctest.Wait()
		}
		last := startWait(t.Context(), w, "a")
		for i, it := range leavers {
			it.want(t, "", reason, time.Duration(i+1)*time.Second)
		}
		runs.set(orchestrator.TypeCompleted, "a")
		<-last.done
		if last.err != nil || last.state.Type != orchestrator.TypeCompleted {
			t.Errorf("%+v, %v", last.state, last.err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(reason)
		startWait(ctx, w, "a").want(t, "", reason, 0)
	})
}

// Who leaves while it asks for losses leaves that to the next one.
func TestAskerLeavesInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := newWatched("a")
		runs.lost, runs.endHangs = []string{"a"}, true
		w := orchestrator.NewWatcher(runs, tick)
		ctx, cancel := context.WithTimeout(t.Context(), tick/2)
		defer cancel()
		leaves := startWait(ctx, w, "a")
		synctest.Wait()
		stays := startWait(t.Context(), w, "a")
		leaves.want(t, "", context.DeadlineExceeded, tick/2)
		stays.want(t, "CRASHED", nil, tick/2)
	})
}

func TestWaitForALostRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := newWatched("lost", "lost later")
		runs.lost = []string{"lost"}
		w := orchestrator.NewWatcher(runs, tick)
		later := startWait(t.Context(), w, "lost later")
		startWait(t.Context(), w, "lost").want(t, "CRASHED", nil, 0)
		runs.mu.Lock()
		runs.lost = []string{"lost later"}
		runs.mu.Unlock()
		later.want(t, "CRASHED", nil, time.Second)
	})
}

func TestWaitWhileTheBackendFails(t *testing.T) {
	broken := errors.New("connection refused")
	for _, test := range []struct {
		name        string
		states, end error
	}{{"states", broken, nil}, {"losses", nil, broken}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runs := newWatched("a")
				w := orchestrator.NewWatcher(runs, tick)
				survives := startWait(t.Context(), w, "a")
				time.Sleep(time.Second)
				for range 3 {
					runs.fail(test.states, test.end)
					time.Sleep(25 * time.Second)
					runs.fail(nil, nil)
					time.Sleep(5 * time.Second)
				}
				runs.set(orchestrator.TypeCompleted, "a")
				<-survives.done
				if survives.err != nil || survives.state.Type != orchestrator.TypeCompleted {
					t.Errorf("%+v, %v", survives.state, survives.err)
				}

				runs.set(orchestrator.TypeRunning, "a")
				runs.fail(test.states, test.end)
				before, _ := runs.queries()
				gives := startWait(t.Context(), w, "a")
				time.Sleep(29 * time.Second)
				late := startWait(t.Context(), w, "a")
				<-gives.done
				if !errors.Is(gives.err, broken) || gives.took < 30*time.Second || gives.took > 35*time.Second {
					t.Errorf("error %v after %v", gives.err, gives.took)
				}
				if after, _ := runs.queries(); after-before > 40 {
					t.Errorf("a backend that fails was asked %d times", after-before)
				}
				runs.fail(nil, nil)
				runs.set(orchestrator.TypeCompleted, "a")
				<-late.done
				if late.err != nil {
					t.Errorf("who waited for seconds: %v", late.err)
				}
			})
		})
	}
}

// Whoever comes and goes, everybody gets an answer.
func TestComingAndGoing(t *testing.T) {
	runs := newWatched()
	w := orchestrator.NewWatcher(runs, time.Millisecond)
	var wg sync.WaitGroup
	for i := range 200 {
		id := fmt.Sprint(i)
		runs.set(orchestrator.TypeRunning, id)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%20)*time.Millisecond)
			defer cancel()
			if i%2 == 0 {
				ctx = t.Context()
			}
			state, err := w.Wait(ctx, id, ended)
			if (err != nil || !state.Type.Final()) && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %+v, %v", id, state, err)
			}
		})
		wg.Go(func() { runs.set(orchestrator.TypeCompleted, id) })
	}
	wg.Wait()
}
