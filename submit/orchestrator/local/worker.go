package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

const (
	defaultHeartbeat = 30 * time.Second
	// online says, at a moment, which workers are. One that was seen later than now is no better
	// off: the clock was set back.
	online = "abs(w.last_seen - ?) <= 3 * w.interval"
)

// Heartbeat implements [orchestrator.WorkerRegistry].
func (o *Orchestrator) Heartbeat(ctx context.Context, w orchestrator.Worker) error {
	if w.Interval <= 0 {
		w.Interval = defaultHeartbeat
	}
	if w.Name == "" || strings.ContainsAny(w.Name, "/%") {
		return aboutPool(w.WorkPool, fmt.Errorf("worker %q: a name is not empty and has neither / nor %%", w.Name))
	}
	err := o.transact(ctx, func(tx *transaction) error {
		if err := wantWorkPool(ctx, tx, w.WorkPool); err != nil {
			return err
		}
		now := o.now().UnixMicro()
		// Those that ended without a word would pile up.
		if _, err := tx.ExecContext(ctx, "DELETE FROM worker AS w WHERE w.work_pool = ? AND NOT "+online, w.WorkPool, now); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `
			INSERT INTO worker (work_pool, name, interval, last_seen) VALUES (?, ?, ?, ?)
			ON CONFLICT (work_pool, name) DO UPDATE SET interval = excluded.interval, last_seen = excluded.last_seen`,
			w.WorkPool, w.Name, w.Interval.Microseconds(), now)
		return err
	})
	if err != nil {
		return aboutPool(w.WorkPool, fmt.Errorf("heartbeat of %q: %w", w.Name, err))
	}
	return nil
}

// SignOff implements [orchestrator.WorkerRegistry].
func (o *Orchestrator) SignOff(ctx context.Context, w orchestrator.Worker) error {
	if _, err := o.exec(ctx, "DELETE FROM worker WHERE work_pool = ? AND name = ?", w.WorkPool, w.Name); err != nil {
		return aboutPool(w.WorkPool, fmt.Errorf("sign off %q: %w", w.Name, err))
	}
	return nil
}

// Workers implements [orchestrator.WorkerRegistry].
func (o *Orchestrator) Workers(ctx context.Context, workPool string) ([]orchestrator.Worker, error) {
	if _, err := o.workPool(ctx, o.db, workPool); err != nil {
		return nil, aboutPool(workPool, err)
	}
	workers, err := all(ctx, o.db, scanWorker, `
		SELECT w.name, w.work_pool, w.interval, w.last_seen FROM worker w
		WHERE w.work_pool = ? AND `+online+` ORDER BY w.name`, workPool, o.now().UnixMicro())
	if err != nil {
		return nil, aboutPool(workPool, fmt.Errorf("workers: %w", err))
	}
	return workers, nil
}

func scanWorker(row scanner) (orchestrator.Worker, error) {
	var w orchestrator.Worker
	err := row.Scan(&w.Name, &w.WorkPool, micros{&w.Interval}, moment{&w.LastSeen})
	return w, err
}

// aboutPool names the work pool that an error is about.
func aboutPool(name string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		err = orchestrator.ErrNoWorkPool
	}
	return fmt.Errorf("orchestrator: work pool %q: %w", name, err)
}

// wantWorkPool is ErrNoWorkPool when there is no such pool.
func wantWorkPool(ctx context.Context, tx *transaction, name string) error {
	var one int
	err := tx.QueryRowContext(ctx, "SELECT 1 FROM work_pool WHERE name = ?", name).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: %q", orchestrator.ErrNoWorkPool, name)
	}
	return err
}

// wantRow is the error none if no row was changed.
func wantRow(result sql.Result, none error) error {
	rows, err := result.RowsAffected()
	if err == nil && rows == 0 {
		err = none
	}
	return err
}
