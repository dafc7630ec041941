package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
	"github.com/flowship/flowship/submit/worker"
)

// mute is a backend whose first answers to claims get lost.
type mute struct {
	*local.Orchestrator
	lost atomic.Int32
}

func (m *mute) SetState(ctx context.Context, id string, to orchestrator.State, opts *orchestrator.SetStateOptions) (*orchestrator.Outcome, error) {
	out, err := m.Orchestrator.SetState(ctx, id, to, opts)
	if opts != nil && opts.Lease != nil && m.lost.Add(-1) >= 0 {
		return nil, errors.New("the connection broke")
	}
	return out, err
}

// A run is not left PENDING because the worker did not hear that it has it.
func TestWorkerClaimsAgain(t *testing.T) {
	for _, c := range []struct {
		name string
		lost int32
		once bool
		want orchestrator.StateType
	}{
		{"it goes on", 2, false, orchestrator.TypeCrashed}, // for the executor says nothing
		{"it stops", 1, true, orchestrator.TypeScheduled},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, held, lease := newRun(t)
			if err := store.Release(t.Context(), lease); err != nil {
				t.Fatal(err)
			}
			run, err := store.CreateFlowRun(t.Context(), orchestrator.NewFlowRun{
				Flow: "f", WorkPool: "pool", State: orchestrator.NewState(orchestrator.TypeScheduled, ""), Bundle: held.Bundle,
			})
			if err != nil {
				t.Fatal(err)
			}
			runs := &mute{Orchestrator: store}
			runs.lost.Store(c.lost)
			g := &gate{open: make(chan struct{})}
			close(g.open)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			ended := make(chan error, 1)
			go func() {
				ended <- worker.New(newLauncher(runs, g, 0), runs, worker.Options{WorkPool: "pool", RunOnce: c.once}).Run(ctx)
			}()
			waiting, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			if !c.once {
				if _, err := orchestrator.NewWatcher(runs, 0).Wait(waiting, run.ID, func(s orchestrator.State) bool { return s.Type.Final() }); err != nil {
					t.Error(err)
				}
				stop()
			}
			<-ended
			got, err := store.FlowRun(t.Context(), run.ID)
			if err != nil || got.State.Type != c.want {
				t.Errorf("%+v, %v, want %s", got, err, c.want)
			}
		})
	}
}
