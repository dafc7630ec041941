package local

import (
	"context"
	"fmt"

	"github.com/flowship/flowship/submit/orchestrator"
)

// WriteLogs implements [orchestrator.LogWriter].
func (o *Orchestrator) WriteLogs(ctx context.Context, logs []orchestrator.Log) error {
	if len(logs) == 0 {
		return nil
	}
	err := o.transact(ctx, func(tx *transaction) error {
		insert, err := tx.PrepareContext(ctx, `
			INSERT INTO log (flow_run_id, name, level, message, timestamp)
			SELECT id, ?2, ?3, ?4, ?5 FROM flow_run WHERE id = ?1`)
		if err != nil {
			return err
		}
		defer insert.Close()
		for _, l := range logs {
			if l.Timestamp.IsZero() {
				l.Timestamp = o.now()
			}
			_, err := insert.ExecContext(ctx, l.FlowRunID, l.Name, l.Level, orchestrator.StoredMessage(l.Message), l.Timestamp.UnixMicro())
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("orchestrator: write logs: %w", err)
	}
	return nil
}

// Logs implements [orchestrator.LogReader].
func (o *Orchestrator) Logs(ctx context.Context, filter orchestrator.LogFilter) ([]orchestrator.Log, error) {
	logs, err := all(ctx, o.db, scanLog, `
		SELECT number, flow_run_id, name, level, message, timestamp FROM log
		WHERE flow_run_id = ? AND number > ? AND level >= ? ORDER BY number LIMIT ?`,
		filter.FlowRunID, filter.After, filter.MinLevel, limit(filter.Limit))
	if err != nil {
		return nil, fmt.Errorf("orchestrator: logs of %q: %w", filter.FlowRunID, err)
	}
	return logs, nil
}

func scanLog(row scanner) (orchestrator.Log, error) {
	var l orchestrator.Log
	err := row.Scan(&l.Number, &l.FlowRunID, &l.Name, &l.Level, &l.Message, moment{&l.Timestamp})
	return l, err
}

// limit is SQLite's word for a limit of which 0 is none.
func limit(n int) int {
	if n <= 0 {
		return -1
	}
	return n
}
