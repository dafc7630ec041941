package local

import (
	"context"
	"database/sql"
	"fmt"
)

// migrations bring a file from schema version i to i+1. Never change one that was released:
// append. Times are microseconds since 1970, UTC.
var migrations = [...]string{
	`
	CREATE TABLE flow (
		id      TEXT PRIMARY KEY,
		name    TEXT NOT NULL UNIQUE,
		created INTEGER NOT NULL
	) STRICT;

	CREATE TABLE flow_run (
		id         TEXT PRIMARY KEY,
		flow_id    TEXT NOT NULL REFERENCES flow (id),
		name       TEXT NOT NULL,
		work_pool  TEXT NOT NULL,
		parameters TEXT NOT NULL, -- a JSON object
		tags       TEXT NOT NULL, -- a JSON list
		bundle_url TEXT NOT NULL,
		bundle_key TEXT NOT NULL,
		digest     TEXT NOT NULL, -- of the document
		files_key  TEXT NOT NULL,
		created    INTEGER NOT NULL,
		started    INTEGER,
		ended      INTEGER,
		state_type TEXT NOT NULL, -- of the last state, for filters
		state_id   TEXT NOT NULL  -- the last state
	) STRICT;
	CREATE INDEX flow_run_created ON flow_run (created);
	CREATE INDEX flow_run_state_type ON flow_run (state_type, created);

	CREATE TABLE state (
		id          TEXT PRIMARY KEY,
		flow_run_id TEXT NOT NULL REFERENCES flow_run (id) ON DELETE CASCADE,
		number      INTEGER NOT NULL, -- 1 is the run's first
		type        TEXT NOT NULL,
		name        TEXT NOT NULL,
		message     TEXT NOT NULL,
		timestamp   INTEGER NOT NULL,
		UNIQUE (flow_run_id, number)
	) STRICT;
	`,
	// Runs from before there were leases get one of a day: whoever may still look after them
	// cannot renew it.
	`
	ALTER TABLE flow_run ADD COLUMN submission TEXT NOT NULL DEFAULT '{}'; -- a JSON object
	CREATE INDEX flow_run_name ON flow_run (name);

	CREATE TABLE lease (
		id          TEXT PRIMARY KEY,
		flow_run_id TEXT NOT NULL REFERENCES flow_run (id) ON DELETE CASCADE,
		holder      TEXT NOT NULL,
		process     TEXT NOT NULL, -- of the holder, see process; '' where the system does not tell
		length      INTEGER NOT NULL, -- microseconds
		renewed     INTEGER NOT NULL,
		doubted     INTEGER -- when somebody first found it expired since it was renewed
	) STRICT;
	CREATE INDEX lease_flow_run ON lease (flow_run_id);

	INSERT INTO lease (id, flow_run_id, holder, process, length, renewed)
	SELECT id, id, 'submitter', '', 86400000000, CAST(unixepoch('subsec') * 1000000 AS INTEGER)
	FROM flow_run WHERE state_type IN ('PENDING', 'RUNNING', 'CANCELLING');
	`,
}

// migrate brings the file up to date. When several processes try, one does it.
func migrate(ctx context.Context, db *sql.DB) error {
	version, err := schemaVersion(ctx, db)
	if err != nil || version == len(migrations) {
		return err
	}
	if version > len(migrations) {
		return fmt.Errorf("it has schema version %d, made by a newer flowship; this one knows version %d", version, len(migrations))
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if version, err = schemaVersion(ctx, tx); err != nil {
		return err
	}
	for ; version < len(migrations); version++ {
		if _, err := tx.ExecContext(ctx, migrations[version]); err != nil {
			return fmt.Errorf("schema version %d: %w", version+1, err)
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
		return err
	}
	return tx.Commit()
}

func schemaVersion(ctx context.Context, q querier) (version int, err error) {
	err = q.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	return version, err
}
