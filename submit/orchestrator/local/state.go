package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/flowship/flowship/submit/orchestrator"
)

// SetState implements [orchestrator.StateSetter].
func (o *Orchestrator) SetState(ctx context.Context, id string, proposed orchestrator.State, opts *orchestrator.SetStateOptions) (*orchestrator.Outcome, error) {
	var out *orchestrator.Outcome
	err := o.transact(ctx, func(tx *sql.Tx) error {
		current, err := currentState(ctx, tx, id)
		if err != nil {
			return err
		}
		known, err := knownState(ctx, tx, proposed.ID)
		if err != nil {
			return err
		}
		switch {
		case known:
			out = &orchestrator.Outcome{Status: orchestrator.Accepted, State: current}
			if current.ID != proposed.ID {
				out.Status, out.Reason = orchestrator.Rejected, "this state was set before, and another one followed"
			}
			return nil
		case opts != nil && opts.Force:
			out = &orchestrator.Outcome{Status: orchestrator.Accepted, State: proposed}
		default:
			out = orchestrator.Decide(current, proposed)
		}
		if out.State.ID == current.ID {
			return nil
		}
		return insertState(ctx, tx, id, out.State)
	})
	if err != nil {
		return nil, aboutRun(id, fmt.Errorf("set state %s: %w", proposed.Type, err))
	}
	return out, nil
}

// States implements [orchestrator.Reader].
func (o *Orchestrator) States(ctx context.Context, id string) ([]orchestrator.State, error) {
	states, err := all(ctx, o.db, scanState, "SELECT id, type, name, message, timestamp FROM state WHERE flow_run_id = ? ORDER BY number", id)
	if err == nil && len(states) == 0 {
		err = orchestrator.ErrNotFound
	}
	if err != nil {
		return nil, aboutRun(id, err)
	}
	return states, nil
}

func currentState(ctx context.Context, tx *sql.Tx, id string) (orchestrator.State, error) {
	return scanState(tx.QueryRowContext(ctx, `
		SELECT s.id, s.type, s.name, s.message, s.timestamp FROM flow_run r JOIN state s ON s.id = r.state_id WHERE r.id = ?`, id))
}

// knownState reports whether the state was written before.
func knownState(ctx context.Context, tx *sql.Tx, stateID string) (bool, error) {
	var one int
	err := tx.QueryRowContext(ctx, "SELECT 1 FROM state WHERE id = ?", stateID).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// insertState appends the state to the run's and makes it the current one.
func insertState(ctx context.Context, tx *sql.Tx, run string, s orchestrator.State) error {
	stamp := s.Timestamp.UnixMicro()
	_, err := tx.ExecContext(ctx, `
		INSERT INTO state (id, flow_run_id, number, type, name, message, timestamp)
		SELECT ?, ?, coalesce(max(number), 0) + 1, ?, ?, ?, ? FROM state WHERE flow_run_id = ?`,
		s.ID, run, string(s.Type), s.Name, s.Message, stamp, run)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		UPDATE flow_run SET state_type = ?1, state_id = ?2,
			started = CASE WHEN ?1 = ?3 THEN coalesce(started, ?5) ELSE started END,
			ended = CASE WHEN ?4 THEN ?5 END
		WHERE id = ?6`,
		string(s.Type), s.ID, string(orchestrator.TypeRunning), s.Type.Final(), stamp, run)
	if err != nil || !s.Type.Final() {
		return err
	}
	// Nobody needs to look after it any more; who still does shall notice.
	_, err = tx.ExecContext(ctx, "DELETE FROM lease WHERE flow_run_id = ?", run)
	return err
}

func scanState(row scanner) (orchestrator.State, error) {
	var s orchestrator.State
	var stamp int64
	if err := row.Scan(&s.ID, &s.Type, &s.Name, &s.Message, &stamp); err != nil {
		return s, err
	}
	s.Timestamp = moment(stamp)
	return s, nil
}
