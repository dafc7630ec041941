package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// away is a backend that cannot be reached for a while.
type away struct{ until time.Time }

func (a *away) CurrentStates(_ context.Context, ids []string) (map[string]orchestrator.State, error) {
	if time.Now().Before(a.until) {
		return nil, errors.New("locked")
	}
	return map[string]orchestrator.State{ids[0]: orchestrator.NewState(orchestrator.TypeCancelling, "enough")}, nil
}

func (a *away) EndLost(context.Context) (int, error) { return 0, nil }

// A run can be cancelled also after the backend was away for long.
func TestWatchOutlasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Launcher{Watcher: orchestrator.NewWatcher(&away{time.Now().Add(time.Hour)}, 0)}
		a := &attempt{Launcher: l, Launch: Launch{Run: &orchestrator.FlowRun{ID: "a"}}}
		watched, stop := a.watch(t.Context())
		defer stop()
		select {
		case <-watched.Done():
		case <-time.After(2 * time.Hour):
		}
		if asked, ok := errors.AsType[*askedError](context.Cause(watched)); !ok || asked.message != "enough" {
			t.Errorf("ended by %v", context.Cause(watched))
		}
	})
}
