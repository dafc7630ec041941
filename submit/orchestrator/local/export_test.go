package local

import (
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// SetClock has the orchestrator read another wall clock.
func (o *Orchestrator) SetClock(now func() time.Time) { o.now = now }

// SetProcess has the orchestrator be in another process.
func (o *Orchestrator) SetProcess(name string) { o.self = func() string { return name } }

// Process names this process.
func (o *Orchestrator) Process() string { return o.self() }

// DB is the open file.
func (o *Orchestrator) DB() *sql.DB { return o.db }

// Schema makes a file of that version.
func Schema(version int) string {
	return strings.Join(migrations[:version], "") + fmt.Sprintf("PRAGMA user_version = %d;", version)
}
