// Package local keeps flow runs in one SQLite file. Several processes may use it at once.
//
//	o, err := local.Open(ctx, "/home/ada/.local/state/flowship/flowship.db", nil)
//	defer o.Close()
//	run, err := o.CreateFlowRun(ctx, orchestrator.NewFlowRun{Flow: "sh", State: pending})
//
// A change is in the file when the call returns, whole or not at all, also when the process is
// killed right after. A power failure may take the last moments with it, but never leaves a
// file that does not open: SQLite's write-ahead log with synchronous=normal promises that.
//
// # Leases
//
// Of a holder that is gone, two things tell. On Linux its process does, at once: the number of
// the process, when it started, and since when the machine is up belong together. Otherwise it
// is the lease that was not renewed. Because clocks jump and machines sleep, a lease that looks
// expired is only doubted at first; the run is lost if another third of the lease's length
// later, in which every living holder renews it, it was still not renewed. A process that is
// there but does not renew its lease, as one that was stopped, has ten minutes.
package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/flowship/flowship/submit/orchestrator"
)

// Orchestrator is an open file of flow runs. It is safe for concurrent use.
type Orchestrator struct {
	db   *sql.DB
	now  func() time.Time // by the wall clock, as everybody sees it
	self func() string    // this process
	busy time.Duration    // how long others are waited for

	statements *statements
}

var _ interface {
	orchestrator.Creator
	orchestrator.StateSetter
	orchestrator.Reader
	orchestrator.Finder
	orchestrator.Deleter
	orchestrator.Leaser
	orchestrator.LossEnder
	orchestrator.Resumer
	orchestrator.Launched
	orchestrator.Queue
	orchestrator.StateReader
	orchestrator.LogWriter
	orchestrator.LogReader
	orchestrator.WorkPoolReader
	orchestrator.WorkPoolWriter
	orchestrator.WorkerRegistry
} = (*Orchestrator)(nil)

// Options are the options of [Open]; nil is the default.
type Options struct {
	// BusyTimeout is how long to wait for other processes that write; 0 means 30 seconds.
	BusyTimeout time.Duration
}

// Open opens the file, and creates it and its directory if there is none; only its owner may
// read it. A file of an older schema is brought up to date, one of a newer schema is refused.
func Open(ctx context.Context, path string, opts *Options) (*Orchestrator, error) {
	timeout := 30 * time.Second
	if opts != nil && opts.BusyTimeout > 0 {
		timeout = opts.BusyTimeout
	}
	o, err := open(ctx, path, timeout)
	if err != nil {
		return nil, fmt.Errorf("orchestrator: open %q: %w", path, err)
	}
	return o, nil
}

func open(ctx context.Context, path string, timeout time.Duration) (*Orchestrator, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// SQLite would let the umask decide who may read it. Its other files take on its mode.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dataSource(path, timeout))
	if err != nil {
		return nil, err
	}
	// One process writes little: a second connection would only wait for the first.
	db.SetMaxOpenConns(1)
	o := &Orchestrator{db: db, now: time.Now, self: sync.OnceValue(identify), busy: timeout, statements: newStatements()}
	if err := retryBusy(ctx, timeout, func() error { return migrate(ctx, db) }); err != nil {
		db.Close()
		return nil, o.explain(err)
	}
	return o, nil
}

// Close closes the file.
func (o *Orchestrator) Close() error { return o.db.Close() }

func dataSource(path string, timeout time.Duration) string {
	p := filepath.ToSlash(path)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p // C:/dir
	}
	pragmas := []string{
		"busy_timeout(" + strconv.FormatInt(timeout.Milliseconds(), 10) + ")",
		"journal_mode(wal)",
		"synchronous(normal)",
		"foreign_keys(on)",
	}
	// A transaction that reads first and writes then cannot wait for others: take the lock at
	// its start.
	query := url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}
	return (&url.URL{Scheme: "file", Path: p, RawQuery: query.Encode()}).String()
}

// retryBusy repeats what failed because another process was at the file. SQLite itself waits
// in most places, but not while the journal mode changes.
func retryBusy(ctx context.Context, timeout time.Duration, do func() error) error {
	deadline := time.Now().Add(timeout)
	for {
		err := do()
		if !isBusy(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

// explain says what it means that the file is locked.
func (o *Orchestrator) explain(err error) error {
	if isBusy(err) {
		return fmt.Errorf("another process has kept the file locked for %v: %w", o.busy, err)
	}
	return err
}

// transact runs do in a transaction that holds the lock on the file from its start.
func (o *Orchestrator) transact(ctx context.Context, do func(tx *transaction) error) error {
	began, err := o.db.BeginTx(ctx, nil)
	if err != nil {
		return o.explain(err)
	}
	tx := &transaction{Tx: began, statements: o.statements}
	if err := do(tx); err != nil {
		tx.Rollback()
		return o.explain(err)
	}
	if err := tx.Commit(); err != nil {
		return o.explain(err)
	}
	o.statements.count(ctx, o.db, tx.used)
	return nil
}

// exec runs a statement that is a transaction of its own.
func (o *Orchestrator) exec(ctx context.Context, statement string, args ...any) (sql.Result, error) {
	result, err := o.db.ExecContext(ctx, statement, args...)
	return result, o.explain(err)
}
