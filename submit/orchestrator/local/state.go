package local

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// SetState implements [orchestrator.StateSetter].
func (o *Orchestrator) SetState(ctx context.Context, id string, proposed orchestrator.State, opts *orchestrator.SetStateOptions) (*orchestrator.Outcome, error) {
	if opts == nil {
		opts = &orchestrator.SetStateOptions{}
	}
	var out *orchestrator.Outcome
	err := o.transact(ctx, func(tx *transaction) error {
		run, err := standsAt(ctx, tx, id, proposed.ID)
		if err != nil {
			return err
		}
		if out, err = decide(ctx, tx, run, proposed, opts); err != nil {
			return err
		}
		if out.State.ID != run.state.ID {
			if err := setState(ctx, tx, id, run.workPool, out.State); err != nil {
				return err
			}
		}
		if opts.Lease == nil || out.Status != orchestrator.Accepted || out.State.Type.Final() {
			return nil
		}
		return o.insertLease(ctx, tx, id, *opts.Lease)
	})
	if err != nil {
		return nil, aboutRun(id, fmt.Errorf("set state %s: %w", proposed.Type, err))
	}
	return out, nil
}

func decide(ctx context.Context, tx *transaction, run *present, proposed orchestrator.State, opts *orchestrator.SetStateOptions) (*orchestrator.Outcome, error) {
	current := run.state
	switch {
	case run.known && current.ID != proposed.ID:
		return &orchestrator.Outcome{Status: orchestrator.Rejected, State: current, Reason: "this state was set before, and another one followed"}, nil
	case opts.Follows != "" && current.ID != opts.Follows && !run.known:
		return &orchestrator.Outcome{Status: orchestrator.Rejected, State: current, Reason: fmt.Sprintf("the flow run has become %s meanwhile", current.Name)}, nil
	case opts.Force && !run.known:
		return &orchestrator.Outcome{Status: orchestrator.Accepted, State: proposed}, nil
	}
	// Only a claim asks for the pool.
	if current.Type == orchestrator.TypeScheduled && proposed.Type == orchestrator.TypePending && run.workPool != "" {
		pool, err := claimed(ctx, tx, run.workPool)
		if err != nil {
			return nil, err
		}
		run.facts.Pool = pool
	}
	return orchestrator.Decide(current, proposed, run.facts), nil
}

// States implements [orchestrator.Reader].
func (o *Orchestrator) States(ctx context.Context, id string) ([]orchestrator.State, error) {
	states, err := all(ctx, o.db, scanState, "SELECT "+stateColumns+" FROM state s WHERE flow_run_id = ? ORDER BY number", id)
	if err == nil && len(states) == 0 {
		err = orchestrator.ErrNotFound
	}
	if err != nil {
		return nil, aboutRun(id, err)
	}
	return states, nil
}

// CurrentStates implements [orchestrator.StateReader].
func (o *Orchestrator) CurrentStates(ctx context.Context, ids []string) (map[string]orchestrator.State, error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	type current struct {
		run   string
		state orchestrator.State
	}
	scan := func(row scanner) (c current, err error) {
		err = row.Scan(append([]any{&c.run}, into(&c.state)...)...)
		return c, err
	}
	rows, err := all(ctx, o.db, scan, `
		SELECT r.id, `+stateColumns+` FROM json_each(?) j JOIN flow_run r ON r.id = j.value JOIN state s ON s.id = r.state_id`, string(list))
	if err != nil {
		return nil, fmt.Errorf("orchestrator: current states: %w", err)
	}
	states := make(map[string]orchestrator.State, len(rows))
	for _, c := range rows {
		states[c.run] = c.state
	}
	return states, nil
}

// present is how a run stands.
type present struct {
	state    orchestrator.State
	workPool string
	facts    orchestrator.RunFacts
	known    bool // the state that was asked about is one of the run's
}

// standsAt returns how the run stands, and whether the state with this ID is one of its states.
func standsAt(ctx context.Context, tx *transaction, id, stateID string) (*present, error) {
	var r present
	policy := &r.facts.Policy
	dest := append(into(&r.state), &r.workPool, &policy.Retries, micros{&policy.RetryDelay}, &r.facts.RunCount, &r.known)
	err := tx.QueryRowContext(ctx, `
		SELECT `+stateColumns+`, r.work_pool, r.retries, r.retry_delay, r.run_count,
			EXISTS (SELECT 1 FROM state WHERE id = ?2 AND flow_run_id = r.id)
		FROM flow_run r JOIN state s ON s.id = r.state_id WHERE r.id = ?1`, id, stateID).Scan(dest...)
	return &r, err
}

// setState appends the state to the run's and makes it the current one.
func setState(ctx context.Context, tx *transaction, run, workPool string, s orchestrator.State) error {
	stamp, scheduled := s.Timestamp.UnixMicro(), nullMicro(s.Scheduled)
	_, err := tx.ExecContext(ctx, `
		INSERT INTO state (id, flow_run_id, number, type, name, message, timestamp, scheduled)
		SELECT ?1, ?2, coalesce(max(number), 0) + 1, ?3, ?4, ?5, ?6, ?7 FROM state WHERE flow_run_id = ?2`,
		s.ID, run, string(s.Type), s.Name, s.Message, stamp, scheduled)
	if err != nil {
		return err
	}
	queued := s.Type == orchestrator.TypeScheduled && !s.UnderWay()
	_, err = tx.ExecContext(ctx, `
		UPDATE flow_run SET state_type = ?2, state_id = ?3, state_name = ?4, state_timestamp = ?5, state_scheduled = ?6,
			started = CASE WHEN ?7 THEN coalesce(started, ?5) ELSE started END,
			ended = CASE WHEN ?8 THEN ?5 END, missed = NULL,
			run_count = run_count + (?7 AND state_type <> ?2),
			infrastructure = CASE WHEN ?9 OR (ended IS NOT NULL AND NOT ?8) THEN '' ELSE infrastructure END
		WHERE id = ?1`,
		run, string(s.Type), s.ID, s.Name, stamp, scheduled, s.Type == orchestrator.TypeRunning, s.Type.Final(), queued)
	if err != nil {
		return err
	}
	if queued && workPool != "" {
		if err := wantWorkPool(ctx, tx, workPool); err != nil {
			return err
		}
	}
	if !queued && !s.Type.Final() {
		return nil
	}
	// Nobody needs to look after it any more; who still does shall notice.
	_, err = tx.ExecContext(ctx, "DELETE FROM lease WHERE flow_run_id = ?", run)
	return err
}

// stateColumns are what into takes, of the state s.
const stateColumns = "s.id, s.type, s.name, s.message, s.timestamp, s.scheduled"

func into(s *orchestrator.State) []any {
	return []any{&s.ID, &s.Type, &s.Name, &s.Message, moment{&s.Timestamp}, moment{&s.Scheduled}}
}

func scanState(row scanner) (orchestrator.State, error) {
	var s orchestrator.State
	err := row.Scan(into(&s)...)
	return s, err
}

// moment scans microseconds since 1970; none is the zero time.
type moment struct{ t *time.Time }

func (m moment) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*m.t = time.Time{}
	case int64:
		*m.t = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("%T is no moment", v)
	}
	return nil
}

func nullMicro(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

// micros scans a length of time in microseconds.
type micros struct{ d *time.Duration }

func (m micros) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("%T is no length of time", v)
	}
	*m.d = time.Duration(n) * time.Microsecond
	return nil
}
