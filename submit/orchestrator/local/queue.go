package local

import (
	"context"
	"fmt"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// ScheduledFlowRuns implements [orchestrator.Queue].
func (o *Orchestrator) ScheduledFlowRuns(ctx context.Context, workPool string, before time.Time, most int) ([]*orchestrator.FlowRun, error) {
	if before.IsZero() {
		before = o.now()
	}
	pool, err := o.workPool(ctx, o.db, workPool)
	if err != nil {
		return nil, aboutPool(workPool, err)
	}
	if pool.ConcurrencyLimit != nil {
		room := *pool.ConcurrencyLimit - pool.ActiveSlots
		if room <= 0 {
			return []*orchestrator.FlowRun{}, nil
		}
		if most <= 0 || most > room {
			most = room
		}
	}
	if pool.Paused {
		return []*orchestrator.FlowRun{}, nil
	}
	// What is due at once is so whatever the clock says: it may have been set back.
	runs, err := all(ctx, o.db, scanFlowRun, selectFlowRun+`
		WHERE r.work_pool = ? AND r.due IS NOT NULL AND (r.state_scheduled IS NULL OR r.state_scheduled <= ?)
		ORDER BY r.priority, r.due, r.state_scheduled, r.rowid LIMIT ?`, workPool, before.UnixMicro(), limit(most))
	if err != nil {
		return nil, aboutPool(workPool, fmt.Errorf("scheduled flow runs: %w", err))
	}
	return runs, nil
}

// SetInfrastructure implements [orchestrator.Launched].
func (o *Orchestrator) SetInfrastructure(ctx context.Context, id, infrastructure string) error {
	result, err := o.exec(ctx, "UPDATE flow_run SET infrastructure = ? WHERE id = ?", infrastructure, id)
	if err == nil {
		err = wantRow(result, orchestrator.ErrNotFound)
	}
	if err != nil {
		return aboutRun(id, fmt.Errorf("set infrastructure: %w", err))
	}
	return nil
}
