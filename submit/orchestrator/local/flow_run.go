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
	err = o.transact(ctx, func(tx *transaction) error {
		id, err = ensureFlow(ctx, tx, name)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("orchestrator: flow %q: %w", name, err)
	}
	return id, nil
}

func ensureFlow(ctx context.Context, tx *transaction, name string) (id string, err error) {
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
		ID: n.ID, Flow: n.Flow, Name: n.Name, WorkPool: n.WorkPool, Parameters: n.Parameters, Tags: n.Tags, Version: n.Version, Labels: n.Labels,
		Bundle: n.Bundle, Results: n.Results, Submission: n.Submission, JobVariables: n.JobVariables, Priority: n.Priority, Policy: n.Policy,
		State: n.State, Created: time.Now().UTC().Truncate(time.Microsecond),
	}
	if run.ID == "" {
		run.ID = uuid.NewString()
	}
	if run.Name == "" {
		run.Name = orchestrator.RandomName()
	}
	for _, object := range []*json.RawMessage{&run.Parameters, &run.Submission, &run.JobVariables} {
		if *object == nil {
			*object = json.RawMessage("{}")
		}
	}
	if run.Tags == nil {
		run.Tags = []string{}
	}
	if run.Labels == nil {
		run.Labels = map[string]string{}
	}
	err := o.transact(ctx, func(tx *transaction) error {
		if err := insertFlowRun(ctx, tx, run); err != nil || n.Lease == nil {
			return err
		}
		return o.insertLease(ctx, tx, run.ID, *n.Lease)
	})
	if err != nil {
		return nil, fmt.Errorf("orchestrator: create flow run %q: %w", run.ID, err)
	}
	return run, nil
}

// insertFlowRun writes the run with its state, and fills in what follows from them.
func insertFlowRun(ctx context.Context, tx *transaction, run *orchestrator.FlowRun) error {
	tags, err := json.Marshal(run.Tags)
	if err != nil {
		return err
	}
	labels, err := json.Marshal(run.Labels)
	if err != nil {
		return err
	}
	if run.FlowID, err = ensureFlow(ctx, tx, run.Flow); err != nil {
		return err
	}
	b := &run.Bundle
	_, err = tx.ExecContext(ctx, `
		INSERT INTO flow_run (id, flow_id, name, work_pool, parameters, tags, version, labels, bundle_url, bundle_key, digest, files_key,
			results, submission, job_variables, priority, retries, retry_delay, created, state_type, state_id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', '')`,
		run.ID, run.FlowID, run.Name, run.WorkPool, string(run.Parameters), string(tags), run.Version, string(labels), b.URL, b.Key, b.Digest, b.FilesKey,
		run.Results, string(run.Submission), string(run.JobVariables), run.Priority, run.Policy.Retries, run.Policy.RetryDelay.Microseconds(),
		run.Created.UnixMicro())
	if err != nil {
		return err
	}
	if run.State.Type == orchestrator.TypeRunning {
		run.RunCount, run.Started = 1, run.State.Timestamp
	}
	if run.State.Type.Final() {
		run.Ended = run.State.Timestamp
	}
	return setState(ctx, tx, run.ID, run.WorkPool, run.State)
}

const selectFlowRun = `
	SELECT r.id, r.flow_id, f.name, r.name, r.work_pool, r.parameters, r.tags, r.version, r.labels, r.bundle_url, r.bundle_key, r.digest, r.files_key,
		r.results, r.submission, r.job_variables, r.infrastructure, r.priority, r.retries, r.retry_delay, r.run_count, r.created, r.started, r.ended,
		` + stateColumns + `
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
	query, args := chosen(filter)
	runs, err := all(ctx, o.db, scanFlowRun, query, args...)
	if err != nil {
		return nil, fmt.Errorf("orchestrator: list flow runs: %w", err)
	}
	return runs, nil
}

// chosen is the query for the filter's runs.
func chosen(filter orchestrator.Filter) (query string, args []any) {
	const latest = " ORDER BY r.created DESC, r.rowid DESC LIMIT ?"
	one := func(state orchestrator.StateType) string {
		conditions := " WHERE 1"
		if state != "" {
			conditions, args = conditions+" AND r.state_type = ?", append(args, string(state))
		}
		if filter.WorkPool != "" {
			conditions, args = conditions+" AND r.work_pool = ?", append(args, filter.WorkPool)
		}
		args = append(args, limit(filter.Limit))
		return conditions + latest
	}
	states := filter.States
	switch {
	case len(states) == 0 && filter.WorkPool == "":
		return selectFlowRun + one(""), args
	case len(states) == 0:
		// The index of a pool's runs has the states before the times.
		states = []orchestrator.StateType{
			orchestrator.TypeScheduled, orchestrator.TypePending, orchestrator.TypeRunning, orchestrator.TypePaused, orchestrator.TypeCancelling,
			orchestrator.TypeCompleted, orchestrator.TypeFailed, orchestrator.TypeCrashed, orchestrator.TypeCancelled,
		}
	case len(states) == 1:
		return selectFlowRun + one(states[0]), args
	}
	// The latest in each state are found at once; to sort all that are in any of them is not.
	var each []string
	for _, state := range states {
		each = append(each, "SELECT * FROM (SELECT r.rowid FROM flow_run r"+one(state)+")")
	}
	query = selectFlowRun + " WHERE r.rowid IN (" + strings.Join(each, " UNION ALL ") + ")" + latest
	return query, append(args, limit(filter.Limit))
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
		r                                                  orchestrator.FlowRun
		parameters, tags, labels, submission, jobVariables string
		b                                                  = &r.Bundle
	)
	err := row.Scan(append([]any{
		&r.ID, &r.FlowID, &r.Flow, &r.Name, &r.WorkPool, &parameters, &tags, &r.Version, &labels, &b.URL, &b.Key, &b.Digest, &b.FilesKey,
		&r.Results, &submission, &jobVariables, &r.Infrastructure, &r.Priority, &r.Policy.Retries, micros{&r.Policy.RetryDelay}, &r.RunCount,
		moment{&r.Created}, moment{&r.Started}, moment{&r.Ended},
	}, into(&r.State)...)...)
	if err != nil {
		return nil, err
	}
	r.Parameters, r.Submission, r.JobVariables = json.RawMessage(parameters), json.RawMessage(submission), json.RawMessage(jobVariables)
	if err := json.Unmarshal([]byte(tags), &r.Tags); err != nil {
		return nil, fmt.Errorf("tags: %w", err)
	}
	if err := json.Unmarshal([]byte(labels), &r.Labels); err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
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
