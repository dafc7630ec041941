package worker

import (
	"context"
	"errors"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// claim is the attempt to get a run: that it becomes PENDING, with the worker's lease.
type claim struct {
	run   *orchestrator.FlowRun
	state orchestrator.State
	lease orchestrator.Lease
}

// claim has the run launched if the worker gets it. Where the backend does not say whether it does,
// the same is to be claimed again.
func (w *Worker) claim(ctx, whole context.Context, c *claim) error {
	// Not to be interrupted: whether the run is ours must be known.
	if ours, err := w.get(context.WithoutCancel(ctx), c); !ours || err != nil {
		return err
	}
	if ctx.Err() != nil {
		w.handBack(whole, c.run, c.lease)
		return nil
	}
	w.mu.Lock()
	w.taken[c.run.ID] = struct{}{}
	w.mu.Unlock()
	w.all.Go(func() { w.launch(whole, c.run, c.lease) })
	return nil
}

// get proposes the claim's state.
func (w *Worker) get(ctx context.Context, c *claim) (ours bool, err error) {
	out, err := w.runs.SetState(ctx, c.run.ID, c.state, &orchestrator.SetStateOptions{Lease: &c.lease})
	if err != nil && !errors.Is(err, orchestrator.ErrNotFound) {
		w.unsure[c.run.ID] = c
		return false, err
	}
	delete(w.unsure, c.run.ID)
	switch {
	case err != nil: // deleted meanwhile
		return false, nil
	case out.Status != orchestrator.Accepted:
		w.log.Debug("not claimed", "flow_run", c.run.ID, "reason", out.Reason)
		return false, nil
	}
	c.run.State = out.State
	return true, nil
}

// giveUpUnsure hands back what a worker that stops may have claimed.
func (w *Worker) giveUpUnsure(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, c := range w.unsure {
		ours, err := w.get(ctx, c)
		if err != nil {
			w.log.Warn("it is not known whether a run was claimed", "flow_run", c.run.ID, "error", err)
		}
		if ours {
			w.handBack(ctx, c.run, c.lease)
		}
	}
}
