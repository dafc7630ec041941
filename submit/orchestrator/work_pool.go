package orchestrator

import (
	"context"
	"encoding/json"
	"time"
)

// WorkPool is a place where runs wait for workers, and how they are launched there.
type WorkPool struct {
	ID          string
	Name        string
	Type        string // of its infrastructure, such as "process"
	Description string
	Paused      bool // no run of it is offered to workers
	// ConcurrencyLimit is how many of its runs may be PENDING or under way when a worker claims
	// one; nil is without limit. Runs that are not claimed (direct calls, submit) are counted,
	// and not held up.
	ConcurrencyLimit *int
	ActiveSlots      int // how many are
	// BaseJobTemplate is {"job_configuration": …, "variables": …}.
	BaseJobTemplate json.RawMessage
	// Storage is Prefect's storage_configuration, where the pool's bundles are stored; nil for none.
	Storage json.RawMessage
	Default bool // taken where no pool is named
	Status  WorkPoolStatus
	Created time.Time
	Updated time.Time
}

// WorkPoolStatus is Prefect's.
type WorkPoolStatus string

// The statuses of work pools.
const (
	WorkPoolReady    WorkPoolStatus = "READY"     // a worker is there
	WorkPoolNotReady WorkPoolStatus = "NOT_READY" // none is
	WorkPoolPaused   WorkPoolStatus = "PAUSED"
)

// NewWorkPool is a work pool to be created.
type NewWorkPool struct {
	Name             string
	Type             string
	Description      string
	Paused           bool
	ConcurrencyLimit *int
	BaseJobTemplate  json.RawMessage
	Storage          json.RawMessage
}

// WorkPoolChange is what is to become different; nil members stay.
type WorkPoolChange struct {
	Description      *string
	Paused           *bool
	ConcurrencyLimit *int // a negative one removes the limit
	BaseJobTemplate  json.RawMessage
	Storage          json.RawMessage // null removes it
}

// WorkPoolReader is what those need who use work pools.
type WorkPoolReader interface {
	// WorkPool returns the pool, or ErrNoWorkPool.
	WorkPool(ctx context.Context, name string) (*WorkPool, error)
	// WorkPools returns all by name.
	WorkPools(ctx context.Context) ([]*WorkPool, error)
	// DefaultWorkPool returns the pool that is the default, or ErrNoWorkPool when none is.
	DefaultWorkPool(ctx context.Context) (*WorkPool, error)
}

// WorkPoolWriter is what those need who furnish a place. Its errors are ErrNoWorkPool,
// ErrExists and ErrName.
type WorkPoolWriter interface {
	CreateWorkPool(ctx context.Context, pool NewWorkPool) (*WorkPool, error)
	ChangeWorkPool(ctx context.Context, name string, change WorkPoolChange) error
	SetDefaultWorkPool(ctx context.Context, name string) error
	// DeleteWorkPool forgets the pool. What was SCHEDULED there is CANCELLED; other runs stay.
	DeleteWorkPool(ctx context.Context, name string) error
}

// Worker is one that serves a work pool.
type Worker struct {
	Name     string
	WorkPool string
	Interval time.Duration // of its heartbeats; after three without one it is offline
	LastSeen time.Time
}

// WorkerRegistry is what a worker needs to be seen.
type WorkerRegistry interface {
	// Heartbeat says that the worker is there. It is ErrNoWorkPool when its pool is not.
	Heartbeat(ctx context.Context, w Worker) error
	// SignOff says that it is not any more.
	SignOff(ctx context.Context, w Worker) error
	// Workers returns those of the pool that are online, by name.
	Workers(ctx context.Context, workPool string) ([]Worker, error)
}
