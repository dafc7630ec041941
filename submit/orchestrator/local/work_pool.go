package local

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

// selectWorkPool has a placeholder for now.
const selectWorkPool = `
	SELECT p.id, p.name, p.type, p.description, p.paused, p.concurrency_limit, p.base_job_template, p.storage, p.is_default, p.created, p.updated,
		(SELECT count(*) FROM flow_run r WHERE r.work_pool = p.name AND r.under_way = 1),
		EXISTS (SELECT 1 FROM worker w WHERE w.work_pool = p.name AND ` + online + `)
	FROM work_pool p`

// workPool returns the pool, or sql.ErrNoRows.
func (o *Orchestrator) workPool(ctx context.Context, db querier, name string) (*orchestrator.WorkPool, error) {
	return scanWorkPool(db.QueryRowContext(ctx, selectWorkPool+" WHERE p.name = ?", o.now().UnixMicro(), name))
}

// claimed returns what a claim needs to know of the pool; nil if there is none.
func claimed(ctx context.Context, tx *transaction, name string) (*orchestrator.WorkPool, error) {
	pool := &orchestrator.WorkPool{Name: name}
	var most sql.NullInt64
	// Only a pool with a limit counts, which takes its time where thousands are under way.
	err := tx.QueryRowContext(ctx, `
		SELECT p.paused, p.concurrency_limit,
			CASE WHEN p.concurrency_limit IS NULL THEN 0
				ELSE (SELECT count(*) FROM flow_run r WHERE r.work_pool = p.name AND r.under_way = 1) END
		FROM work_pool p WHERE p.name = ?`, name).Scan(&pool.Paused, &most, &pool.ActiveSlots)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	pool.ConcurrencyLimit = pointer(most)
	return pool, err
}

func pointer(n sql.NullInt64) *int {
	if !n.Valid {
		return nil
	}
	v := int(n.Int64)
	return &v
}

// WorkPool implements [orchestrator.WorkPoolReader].
func (o *Orchestrator) WorkPool(ctx context.Context, name string) (*orchestrator.WorkPool, error) {
	pool, err := o.workPool(ctx, o.db, name)
	if err != nil {
		return nil, aboutPool(name, err)
	}
	return pool, nil
}

// WorkPools implements [orchestrator.WorkPoolReader].
func (o *Orchestrator) WorkPools(ctx context.Context) ([]*orchestrator.WorkPool, error) {
	pools, err := all(ctx, o.db, scanWorkPool, selectWorkPool+" ORDER BY p.name", o.now().UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("orchestrator: list work pools: %w", err)
	}
	return pools, nil
}

// DefaultWorkPool implements [orchestrator.WorkPoolReader].
func (o *Orchestrator) DefaultWorkPool(ctx context.Context) (*orchestrator.WorkPool, error) {
	pool, err := scanWorkPool(o.db.QueryRowContext(ctx, selectWorkPool+" WHERE p.is_default = 1", o.now().UnixMicro()))
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("%w: none is the default", orchestrator.ErrNoWorkPool)
	}
	if err != nil {
		return nil, fmt.Errorf("orchestrator: default work pool: %w", err)
	}
	return pool, nil
}

func scanWorkPool(row scanner) (*orchestrator.WorkPool, error) {
	var (
		p        orchestrator.WorkPool
		most     sql.NullInt64
		template string
		storage  sql.NullString
		online   bool
	)
	err := row.Scan(&p.ID, &p.Name, &p.Type, &p.Description, &p.Paused, &most, &template, &storage, &p.Default,
		moment{&p.Created}, moment{&p.Updated}, &p.ActiveSlots, &online)
	if err != nil {
		return nil, err
	}
	p.ConcurrencyLimit = pointer(most)
	p.BaseJobTemplate = json.RawMessage(template)
	if storage.Valid {
		p.Storage = json.RawMessage(storage.String)
	}
	switch {
	case p.Paused:
		p.Status = orchestrator.WorkPoolPaused
	case online:
		p.Status = orchestrator.WorkPoolReady
	default:
		p.Status = orchestrator.WorkPoolNotReady
	}
	return &p, nil
}

// CreateWorkPool implements [orchestrator.WorkPoolWriter].
func (o *Orchestrator) CreateWorkPool(ctx context.Context, n orchestrator.NewWorkPool) (*orchestrator.WorkPool, error) {
	var pool *orchestrator.WorkPool
	err := checkName(n.Name)
	if err == nil {
		err = o.transact(ctx, func(tx *transaction) error {
			pool, err = o.createWorkPool(ctx, tx, n)
			return err
		})
	}
	if err != nil {
		return nil, aboutPool(n.Name, fmt.Errorf("create: %w", err))
	}
	return pool, nil
}

func (o *Orchestrator) createWorkPool(ctx context.Context, tx *transaction, n orchestrator.NewWorkPool) (*orchestrator.WorkPool, error) {
	if n.BaseJobTemplate == nil {
		n.BaseJobTemplate = json.RawMessage("{}")
	}
	change := orchestrator.WorkPoolChange{
		Description: &n.Description, Paused: &n.Paused, ConcurrencyLimit: n.ConcurrencyLimit, BaseJobTemplate: n.BaseJobTemplate, Storage: n.Storage,
	}
	if n.ConcurrencyLimit != nil && *n.ConcurrencyLimit < 0 {
		return nil, fmt.Errorf("a concurrency limit of %d", *n.ConcurrencyLimit)
	}
	now := o.now().UnixMicro()
	result, err := tx.ExecContext(ctx, `
		INSERT INTO work_pool (id, name, type, description, paused, base_job_template, created, updated) VALUES (?, ?, ?, '', 0, '{}', ?, ?)
		ON CONFLICT (name) DO NOTHING`, uuid.NewString(), n.Name, n.Type, now, now)
	if err != nil {
		return nil, err
	}
	if err := wantRow(result, orchestrator.ErrExists); err != nil {
		return nil, err
	}
	if err := o.changeWorkPool(ctx, tx, n.Name, change); err != nil {
		return nil, err
	}
	return o.workPool(ctx, tx, n.Name)
}

// ChangeWorkPool implements [orchestrator.WorkPoolWriter].
func (o *Orchestrator) ChangeWorkPool(ctx context.Context, name string, change orchestrator.WorkPoolChange) error {
	err := o.transact(ctx, func(tx *transaction) error { return o.changeWorkPool(ctx, tx, name, change) })
	if err != nil {
		return aboutPool(name, fmt.Errorf("change: %w", err))
	}
	return nil
}

func (o *Orchestrator) changeWorkPool(ctx context.Context, tx *transaction, name string, change orchestrator.WorkPoolChange) error {
	columns, args := []string{"updated = ?"}, []any{o.now().UnixMicro()}
	set := func(column string, value any) {
		columns, args = append(columns, column+" = ?"), append(args, value)
	}
	if change.Description != nil {
		set("description", *change.Description)
	}
	if change.Paused != nil {
		set("paused", *change.Paused)
	}
	if most := change.ConcurrencyLimit; most != nil {
		set("concurrency_limit", sql.NullInt64{Int64: int64(*most), Valid: *most >= 0})
	}
	if change.BaseJobTemplate != nil {
		if !isObject(change.BaseJobTemplate) {
			return errors.New("the base job template is not a JSON object")
		}
		set("base_job_template", string(change.BaseJobTemplate))
	}
	if storage := bytes.TrimSpace(change.Storage); len(storage) > 0 {
		none := string(storage) == "null"
		if !none && !isObject(storage) {
			return errors.New("the storage is not a JSON object")
		}
		set("storage", sql.NullString{String: string(storage), Valid: !none})
	}
	result, err := tx.ExecContext(ctx, "UPDATE work_pool SET "+strings.Join(columns, ", ")+" WHERE name = ?", append(args, name)...)
	if err != nil {
		return err
	}
	return wantRow(result, orchestrator.ErrNoWorkPool)
}

func isObject(text []byte) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(text, &object) == nil && object != nil
}

// checkName refuses what Prefect would.
func checkName(name string) error {
	switch {
	case strings.TrimSpace(name) == "", strings.ContainsAny(name, "/%&><\x00"):
		return fmt.Errorf("%w: it is empty or has one of / %% & > <", orchestrator.ErrName)
	case strings.HasPrefix(strings.ToLower(name), "prefect"):
		return fmt.Errorf("%w: those that begin with prefect are reserved", orchestrator.ErrName)
	}
	return nil
}

// SetDefaultWorkPool implements [orchestrator.WorkPoolWriter].
func (o *Orchestrator) SetDefaultWorkPool(ctx context.Context, name string) error {
	err := o.transact(ctx, func(tx *transaction) error {
		if _, err := tx.ExecContext(ctx, "UPDATE work_pool SET is_default = 0 WHERE is_default = 1"); err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, "UPDATE work_pool SET is_default = 1 WHERE name = ?", name)
		if err != nil {
			return err
		}
		return wantRow(result, orchestrator.ErrNoWorkPool)
	})
	if err != nil {
		return aboutPool(name, fmt.Errorf("make it the default: %w", err))
	}
	return nil
}

// DeleteWorkPool implements [orchestrator.WorkPoolWriter].
func (o *Orchestrator) DeleteWorkPool(ctx context.Context, name string) error {
	err := o.transact(ctx, func(tx *transaction) error {
		result, err := tx.ExecContext(ctx, "DELETE FROM work_pool WHERE name = ?", name)
		if err != nil {
			return err
		}
		if err := wantRow(result, orchestrator.ErrNoWorkPool); err != nil {
			return err
		}
		scan := func(row scanner) (id string, err error) {
			err = row.Scan(&id)
			return id, err
		}
		waiting, err := all(ctx, tx, scan, "SELECT id FROM flow_run WHERE work_pool = ? AND due IS NOT NULL", name)
		if err != nil {
			return err
		}
		for _, id := range waiting {
			cancelled := orchestrator.NewState(orchestrator.TypeCancelled, "its work pool was deleted")
			if err := setState(ctx, tx, id, name, cancelled); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return aboutPool(name, fmt.Errorf("delete: %w", err))
	}
	return nil
}
