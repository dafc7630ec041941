package local

import "time"

// SetClock has the orchestrator read another wall clock.
func (o *Orchestrator) SetClock(now func() time.Time) { o.now = now }

// SetProcess has the orchestrator be in another process.
func (o *Orchestrator) SetProcess(name string) { o.self = func() string { return name } }

// Process names this process.
func (o *Orchestrator) Process() string { return o.self() }

// FirstSchemaVersion is that of the schema before there were leases.
const FirstSchemaVersion = 1

// FirstSchema returns that schema.
func FirstSchema() string { return migrations[FirstSchemaVersion-1] }
