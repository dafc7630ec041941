package orchestrator_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// telling is a backend that tells of changes while the test lets it.
type telling struct {
	*watched
	mu        sync.Mutex
	heard     func(string, orchestrator.StateType)
	connected func(bool)
	ears      int // how many listen
	begun     int // and ever did
}

func (n *telling) Interval() time.Duration { return tick }

func (n *telling) Notify(ctx context.Context, heard func(string, orchestrator.StateType), connected func(bool)) {
	n.mu.Lock()
	n.heard, n.connected = heard, connected
	n.ears++
	n.begun++
	n.mu.Unlock()
	connected(true)
	<-ctx.Done()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ears--
}

func (n *telling) listening() (now, ever int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ears, n.begun
}

func (n *telling) tell(id string) {
	n.set(orchestrator.TypeCompleted, id)
	n.mu.Lock()
	heard := n.heard
	n.mu.Unlock()
	if heard != nil { // else nobody listens yet
		heard(id, orchestrator.TypeCompleted)
	}
}

func TestWatcherHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := &telling{watched: newWatched("a", "b", "quiet", "gone")}
		w := orchestrator.NewWatcher(runs, 0)
		defer w.Close()
		a, b, quiet := startWait(t.Context(), w, "a"), startWait(t.Context(), w, "b"), startWait(t.Context(), w, "quiet")
		time.Sleep(5 * tick)

		// While it hears, it asks seldom.
		before, _ := runs.queries()
		time.Sleep(100 * tick)
		if after, _ := runs.queries(); after-before != 10 {
			t.Errorf("%d looks in %v", after-before, 100*tick)
		}
		// What it hears, it tells at once; what nobody waits for does not matter.
		runs.tell("gone")
		time.Sleep(tick / 2)
		before, _ = runs.queries()
		runs.tell("a")
		a.want(t, "COMPLETED", nil, 105*tick+tick/2)
		synctest.Wait()
		if after, _ := runs.queries(); after-before > 2 { // the second one by who asks instead of who left
			t.Errorf("%d looks for one change", after-before)
		}
		// What it missed, it sees later.
		runs.set(orchestrator.TypeFailed, "quiet")
		<-quiet.done
		if quiet.took > 117*tick {
			t.Errorf("seen after %v", quiet.took)
		}
		// Without the connection, it asks as ever.
		runs.connected(false)
		synctest.Wait()
		before, _ = runs.queries()
		time.Sleep(10*tick + tick/2)
		if after, _ := runs.queries(); after-before != 10 {
			t.Errorf("%d looks in %v without a connection", after-before, 10*tick)
		}
		runs.connected(true)
		synctest.Wait()
		runs.tell("b")
		<-b.done
		if now, ever := runs.listening(); now != 1 || ever != 1 {
			t.Errorf("%d listen, %d ever did", now, ever)
		}
	})
}

func TestWatcherListensNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := &telling{watched: newWatched("goes on")}
		runs.set(orchestrator.TypeCompleted, "done")
		w := orchestrator.NewWatcher(runs, tick)
		want := func(what string, wantNow, wantEver int) {
			t.Helper()
			synctest.Wait()
			if now, ever := runs.listening(); now != wantNow || ever != wantEver {
				t.Errorf("%s: %d listen, %d ever did; want %d and %d", what, now, ever, wantNow, wantEver)
			}
		}
		waitFor := func(d time.Duration) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			startWait(ctx, w, "goes on").want(t, "", context.DeadlineExceeded, d)
		}
		startWait(t.Context(), w, "done").want(t, "COMPLETED", nil, 0)
		want("answered at once", 0, 0)
		waitFor(time.Minute)
		time.Sleep(3 * time.Second)
		want("for the next one", 1, 1)
		waitFor(time.Second)
		time.Sleep(3 * time.Second)
		want("who came", 1, 1)
		time.Sleep(3 * time.Second)
		want("nobody came", 0, 1)
		waitFor(time.Second)
		want("somebody came", 1, 2)
		w.Close()
		want("closed", 0, 2)
		waitFor(time.Second)
		want("after that", 1, 3)
		w.Close()
		w.Close()
	})
}

// Those who come, go and are told do not get in each other's way.
func TestHearingWhileComingAndGoing(t *testing.T) {
	runs := &telling{watched: newWatched("x")}
	w := orchestrator.NewWatcher(runs, 10*time.Millisecond)
	var wg sync.WaitGroup
	for i := range 100 {
		id := fmt.Sprint(i)
		runs.set(orchestrator.TypeRunning, id)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if _, err := w.Wait(ctx, id, ended); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		})
		wg.Go(func() { runs.tell(id) })
	}
	wg.Wait()
	w.Close()
	if now, _ := runs.listening(); now != 0 {
		t.Errorf("%d still listen", now)
	}
}
