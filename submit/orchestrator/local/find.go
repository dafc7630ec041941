package local

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/flowship/flowship/submit/orchestrator"
)

// FindFlowRun implements [orchestrator.Finder].
func (o *Orchestrator) FindFlowRun(ctx context.Context, ref string) (*orchestrator.FlowRun, error) {
	if ref == "" { // every id begins with it, and nobody means that
		return nil, aboutRun(ref, orchestrator.ErrNotFound)
	}
	id := strings.ToLower(ref)
	run, err := o.FlowRun(ctx, id)
	if err == nil || !errors.Is(err, orchestrator.ErrNotFound) {
		return run, err
	}
	// A few are enough to say that it is not one. An id has no letter beyond f.
	const beginsWith = "r.id >= ?1 AND r.id < ?1 || 'g'"
	const some = " ORDER BY r.created DESC, r.rowid DESC LIMIT 4"
	for _, by := range []struct{ where, value string }{{"r.name = ?1", ref}, {beginsWith, id}} {
		runs, err := all(ctx, o.db, scanFlowRun, selectFlowRun+" WHERE "+by.where+some, by.value)
		switch {
		case err != nil:
			return nil, aboutRun(ref, err)
		case len(runs) == 1:
			return runs[0], nil
		case len(runs) > 1:
			var ids []string
			for _, r := range runs {
				ids = append(ids, r.ID)
			}
			return nil, aboutRun(ref, fmt.Errorf("%w: %s", orchestrator.ErrAmbiguous, strings.Join(ids, ", ")))
		}
	}
	return nil, aboutRun(ref, orchestrator.ErrNotFound)
}

// DeleteFlowRun implements [orchestrator.Deleter].
func (o *Orchestrator) DeleteFlowRun(ctx context.Context, id string) error {
	err := o.transact(ctx, func(tx *transaction) error {
		run, err := standsAt(ctx, tx, id, "")
		if err != nil {
			return err
		}
		if run.state.UnderWay() {
			return fmt.Errorf("%w: it is %s", orchestrator.ErrUnfinished, run.state.Name)
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM flow_run WHERE id = ?", id)
		return err
	})
	if err != nil {
		return aboutRun(id, fmt.Errorf("delete: %w", err))
	}
	return nil
}
