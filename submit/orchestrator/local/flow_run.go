package local

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

// EnsureFlow implements [orchestrator.Creator].
func (o *Orchestrator) EnsureFlow(ctx context.Context, name string) (id string, err error) {
	err = o.transact(ctx, func(tx *sql.Tx) error {
		id, err = ensureFlow(ctx, tx, name)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("orchestrator: flow %q: %w", name, err)
	}
	return id, nil
}

func ensureFlow(ctx context.Context, tx *sql.Tx, name string) (id string, err error) {
	_, err = tx.ExecContext(ctx, "INSERT INTO flow (id, name, created) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
		uuid.NewString(), name, time.Now().UnixMicro())
	if err != nil {
		return "", err
	}
	err = tx.QueryRowContext(ctx, "SELECT id FROM flow WHERE name = ?", name).Scan(&id)
	return id, err
}

// CreateFlowRun implements [orchestrator.Creator].
func (o *Orchestrator) CreateFlowRun(ctx context.Context, n orchestrator.NewFlowRun) (*orchestrator.FlowRun, error) {
	run := &orchestrator.FlowRun{
		ID: n.ID, Flow: n.Flow, Name: n.Name, WorkPool: n.WorkPool, Parameters: n.Parameters, Tags: n.Tags, Bundle: n.Bundle,
		Submission: n.Submission, State: n.State, Created: time.Now().UTC().Truncate(time.Microsecond),
	}
	if run.ID == "" {
		run.ID = uuid.NewString()
	}
	if run.Name == "" {
		run.Name = orchestrator.RandomName()
	}
	if run.Parameters == nil {
		run.Parameters = json.RawMessage("{}")
	}
	if run.Submission == nil {
		run.Submission = json.RawMessage("{}")
	}
	if run.Tags == nil {
		run.Tags = []string{}
	}
	tags, err := json.Marshal(run.Tags)
	if err != nil {
		return nil, err
	}
	err = o.transact(ctx, func(tx *sql.Tx) error {
		if run.FlowID, err = ensureFlow(ctx, tx, run.Flow); err != nil {
			return err
		}
		b := &run.Bundle
		_, err := tx.ExecContext(ctx, `
			INSERT INTO flow_run (id, flow_id, name, work_pool, parameters, tags, bundle_url, bundle_key, digest, files_key,
				submission, created, state_type, state_id)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '')`,
			run.ID, run.FlowID, run.Name, run.WorkPool, string(run.Parameters), string(tags), b.URL, b.Key, b.Digest, b.FilesKey,
			string(run.Submission), run.Created.UnixMicro())
		if err != nil {
			return err
		}
		if err := insertState(ctx, tx, run.ID, run.State); err != nil || n.Lease == nil {
			return err
		}
		return o.insertLease(ctx, tx, run.ID, *n.Lease)
	})
	if err != nil {
		return nil, fmt.Errorf("orchestrator: create flow run %q: %w", run.ID, err)
	}
	return run, nil
}

const selectFlowRun = `
	SELECT r.id, r.flow_id, f.name, r.name, r.work_pool, r.parameters, r.tags, r.bundle_url, r.bundle_key, r.digest, r.files_key,
		r.submission, r.created, r.started, r.ended, s.id, s.type, s.name, s.message, s.timestamp
	FROM flow_run r JOIN flow f ON f.id = r.flow_id JOIN state s ON s.id = r.state_id`

// FlowRun implements [orchestrator.Reader].
func (o *Orchestrator) FlowRun(ctx context.Context, id string) (*orchestrator.FlowRun, error) {
	run, err := scanFlowRun(o.db.QueryRowContext(ctx, selectFlowRun+" WHERE r.id = ?", id))
	if err != nil {
		return nil, aboutRun(id, err)
	}
	return run, nil
}

// FlowRuns implements [orchestrator.Reader].
func (o *Orchestrator) FlowRuns(ctx context.Context, filter orchestrator.Filter) ([]*orchestrator.FlowRun, error) {
	query, args := selectFlowRun, []any{}
	if len(filter.States) > 0 {
		query += " WHERE r.state_type IN (?" + strings.Repeat(", ?", len(filter.States)-1) + ")"
		for _, s := range filter.States {
			args = append(args, string(s))
		}
	}
	query += " ORDER BY r.created DESC, r.rowid DESC"
	if filter.Limit > 0 {
		query += " LIMIT ?"
		args = append(args, filter.Limit)
	}
	runs, err := all(ctx, o.db, scanFlowRun, query, args...)
	if err != nil {
		return nil, fmt.Errorf("orchestrator: list flow runs: %w", err)
	}
	return runs, nil
}

// aboutRun names the run that an error is about.
func aboutRun(id string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		err = orchestrator.ErrNotFound
	}
	return fmt.Errorf("orchestrator: %q: %w", id, err)
}

// scanner is a *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

func scanFlowRun(row scanner) (*orchestrator.FlowRun, error) {
	var (
		r                            orchestrator.FlowRun
		parameters, tags, submission string
		created, stamp               int64
		started, ended               sql.NullInt64
		b                            = &r.Bundle
		stateType, name, id, message string
	)
	err := row.Scan(&r.ID, &r.FlowID, &r.Flow, &r.Name, &r.WorkPool, &parameters, &tags, &b.URL, &b.Key, &b.Digest, &b.FilesKey,
		&submission, &created, &started, &ended, &id, &stateType, &name, &message, &stamp)
	if err != nil {
		return nil, err
	}
	r.Parameters, r.Submission = json.RawMessage(parameters), json.RawMessage(submission)
	if err := json.Unmarshal([]byte(tags), &r.Tags); err != nil {
		return nil, fmt.Errorf("tags: %w", err)
	}
	r.Created, r.Started, r.Ended = moment(created), nullable(started), nullable(ended)
	r.State = orchestrator.State{ID: id, Type: orchestrator.StateType(stateType), Name: name, Message: message, Timestamp: moment(stamp)}
	return &r, nil
}

// querier is a *sql.DB or *sql.Tx.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// all collects the rows of a query.
func all[T any](ctx context.Context, db querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []T{}
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, rows.Err()
}

func moment(micro int64) time.Time { return time.UnixMicro(micro).UTC() }

func nullable(micro sql.NullInt64) time.Time {
	if !micro.Valid {
		return time.Time{}
	}
	return moment(micro.Int64)
}
