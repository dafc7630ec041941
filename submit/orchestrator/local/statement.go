package local

import (
	"context"
	"database/sql"
	"sync"
)

// transaction is a *sql.Tx that has SQLite compile a statement once, not each time.
type transaction struct {
	*sql.Tx
	statements *statements
	used       []string
}

// statements are those that were compiled.
type statements struct {
	mu       sync.Mutex
	uses     map[string]int
	compiled map[string]*sql.Stmt
}

// enough is after how many uses a statement is compiled for good: most processes do everything
// once, and end.
const enough = 3

func newStatements() *statements {
	return &statements{uses: map[string]int{}, compiled: map[string]*sql.Stmt{}}
}

// get returns the statement, or nil.
func (s *statements) get(query string) *sql.Stmt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.compiled[query]
}

// count counts uses, and compiles what is used again and again. This cannot be done in the
// transaction itself, which has the connection. What cannot be compiled now is so another time.
func (s *statements) count(ctx context.Context, db *sql.DB, queries []string) {
	for _, query := range queries {
		if !s.often(query) {
			continue
		}
		// Without the lock: who has the connection may wait for it.
		statement, err := db.PrepareContext(ctx, query)
		if err == nil && !s.keep(query, statement) {
			statement.Close() // somebody else was quicker
		}
	}
}

func (s *statements) often(query string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uses[query]++
	return s.uses[query] >= enough && s.compiled[query] == nil
}

func (s *statements) keep(query string, statement *sql.Stmt) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.compiled[query] != nil {
		return false
	}
	s.compiled[query] = statement
	return true
}

func (tx *transaction) statement(ctx context.Context, query string) *sql.Stmt {
	if statement := tx.statements.get(query); statement != nil {
		return tx.StmtContext(ctx, statement)
	}
	tx.used = append(tx.used, query)
	return nil
}

// ExecContext is that of [sql.Tx].
func (tx *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if statement := tx.statement(ctx, query); statement != nil {
		return statement.ExecContext(ctx, args...)
	}
	return tx.Tx.ExecContext(ctx, query, args...)
}

// QueryContext is that of [sql.Tx].
func (tx *transaction) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if statement := tx.statement(ctx, query); statement != nil {
		return statement.QueryContext(ctx, args...)
	}
	return tx.Tx.QueryContext(ctx, query, args...)
}

// QueryRowContext is that of [sql.Tx].
func (tx *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if statement := tx.statement(ctx, query); statement != nil {
		return statement.QueryRowContext(ctx, args...)
	}
	return tx.Tx.QueryRowContext(ctx, query, args...)
}
