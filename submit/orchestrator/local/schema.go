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
	// What a run's place in the queue depends on is its last state's; the columns due and
	// under_way follow from that.
	`
	ALTER TABLE state ADD COLUMN scheduled INTEGER; -- when a SCHEDULED run is due; NULL: at once

	ALTER TABLE flow_run ADD COLUMN version        TEXT NOT NULL DEFAULT '';
	ALTER TABLE flow_run ADD COLUMN labels         TEXT NOT NULL DEFAULT '{}'; -- a JSON object of strings
	ALTER TABLE flow_run ADD COLUMN results        TEXT NOT NULL DEFAULT '';
	ALTER TABLE flow_run ADD COLUMN job_variables  TEXT NOT NULL DEFAULT '{}'; -- a JSON object
	ALTER TABLE flow_run ADD COLUMN infrastructure TEXT NOT NULL DEFAULT '';
	ALTER TABLE flow_run ADD COLUMN priority       INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE flow_run ADD COLUMN retries        INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE flow_run ADD COLUMN retry_delay    INTEGER NOT NULL DEFAULT 0; -- microseconds
	ALTER TABLE flow_run ADD COLUMN run_count      INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE flow_run ADD COLUMN state_name      TEXT NOT NULL DEFAULT '';
	ALTER TABLE flow_run ADD COLUMN state_timestamp INTEGER NOT NULL DEFAULT 0;
	ALTER TABLE flow_run ADD COLUMN state_scheduled INTEGER;
	ALTER TABLE flow_run ADD COLUMN due INTEGER AS (
		CASE WHEN state_type = 'SCHEDULED' AND state_name <> 'AwaitingRetry' THEN coalesce(state_scheduled, state_timestamp) END) VIRTUAL;
	ALTER TABLE flow_run ADD COLUMN under_way INTEGER AS (
		CASE WHEN state_type IN ('PENDING', 'RUNNING', 'CANCELLING') OR (state_type = 'SCHEDULED' AND state_name = 'AwaitingRetry') THEN 1 END) VIRTUAL;
	UPDATE flow_run SET
		run_count       = (SELECT count(*) FROM state s WHERE s.flow_run_id = flow_run.id AND s.type = 'RUNNING'),
		state_name      = (SELECT s.name FROM state s WHERE s.id = state_id),
		state_timestamp = (SELECT s.timestamp FROM state s WHERE s.id = state_id);
	CREATE INDEX flow_run_due ON flow_run (work_pool, priority, due, state_scheduled) WHERE due IS NOT NULL;
	CREATE INDEX flow_run_under_way ON flow_run (under_way, work_pool) WHERE under_way IS NOT NULL;
	CREATE INDEX flow_run_work_pool ON flow_run (work_pool, state_type, created);

	CREATE TABLE log (
		number      INTEGER PRIMARY KEY,
		flow_run_id TEXT NOT NULL REFERENCES flow_run (id) ON DELETE CASCADE,
		name        TEXT NOT NULL,
		level       INTEGER NOT NULL,
		message     TEXT NOT NULL,
		timestamp   INTEGER NOT NULL
	) STRICT;
	CREATE INDEX log_flow_run ON log (flow_run_id);

	CREATE TABLE work_pool (
		id                TEXT PRIMARY KEY,
		name              TEXT NOT NULL UNIQUE, -- which flow_run.work_pool may be, or not any more
		type              TEXT NOT NULL,
		description       TEXT NOT NULL,
		paused            INTEGER NOT NULL,
		concurrency_limit INTEGER,
		base_job_template TEXT NOT NULL, -- a JSON object
		storage           TEXT, -- a JSON object
		is_default        INTEGER NOT NULL DEFAULT 0,
		created           INTEGER NOT NULL,
		updated           INTEGER NOT NULL
	) STRICT;
	CREATE UNIQUE INDEX work_pool_default ON work_pool (is_default) WHERE is_default = 1;

	CREATE TABLE worker (
		work_pool TEXT NOT NULL REFERENCES work_pool (name) ON DELETE CASCADE,
		name      TEXT NOT NULL,
		interval  INTEGER NOT NULL, -- microseconds
		last_seen INTEGER NOT NULL,
		PRIMARY KEY (work_pool, name)
	) STRICT;
	`,
	`
	ALTER TABLE flow_run ADD COLUMN missed INTEGER; -- when it was noticed that nobody looks after it; NULL: somebody does
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
