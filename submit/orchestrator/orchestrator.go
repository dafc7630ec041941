// Package orchestrator says what a flow run is and where it lives: its states, the rules by
// which they follow each other, and the small interfaces through which others see a backend.
//
//	run, err := backend.CreateFlowRun(ctx, orchestrator.NewFlowRun{Flow: "train", State: pending})
//	out, err := backend.SetState(ctx, run.ID, orchestrator.NewState(orchestrator.TypeRunning, ""), nil)
//	if out.Status != orchestrator.Accepted { … } // somebody else was quicker: out.State is what holds
//
// State types, names and transitions are Prefect's, so that code above does not know which
// backend it has. Package local keeps runs in SQLite.
package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Errors that callers branch on; they come wrapped with the run that they are about.
var (
	// ErrNotFound: there is no such flow run.
	ErrNotFound = errors.New("flow run not found")
	// ErrAmbiguous: several flow runs are meant.
	ErrAmbiguous = errors.New("more than one flow run")
	// ErrUnfinished: the flow run would have to end first.
	ErrUnfinished = errors.New("the flow run has not ended")
)

// FlowRun is one run of a flow.
type FlowRun struct {
	ID         string
	FlowID     string
	Flow       string // name of the flow
	Name       string
	WorkPool   string
	Parameters json.RawMessage // a JSON object
	Tags       []string
	Bundle     Bundle
	Submission json.RawMessage // see [NewFlowRun]
	State      State
	Created    time.Time
	Started    time.Time // when it was first RUNNING; zero before
	Ended      time.Time // when it became final; zero before
}

// Bundle says where a run's bundle is stored.
type Bundle struct {
	URL      string // of the store
	Key      string // of the document
	Digest   string // of the document, as "sha256:<hex>"
	FilesKey string // of the sidecar; "" when no files travel
}

// NewFlowRun is a flow run to be created.
type NewFlowRun struct {
	ID         string // a UUID; "" for a new one
	Flow       string // name of the flow, which is created if need be
	Name       string // "" for a random one
	WorkPool   string
	Parameters json.RawMessage // nil for {}
	Tags       []string
	Bundle     Bundle
	Submission json.RawMessage // what the submitter wants to remember, as a JSON object; nil for {}
	State      State
	// Lease is taken together with the creation. A run that is created PENDING needs one:
	// without, nobody looks after it.
	Lease *Lease
}

// Filter chooses flow runs; the zero Filter chooses all.
type Filter struct {
	States []StateType // those in one of these; none: any
	Limit  int         // 0: no limit
}

// Creator is what a submitter needs.
type Creator interface {
	// EnsureFlow returns the id of the flow with this name, which is created if need be.
	EnsureFlow(ctx context.Context, name string) (id string, err error)
	CreateFlowRun(ctx context.Context, run NewFlowRun) (*FlowRun, error)
}

// StateSetter is what those need who run or watch a flow run.
type StateSetter interface {
	// SetState proposes a state. That it was not accepted is no error: the outcome says so.
	// Proposing a state again, by its ID, changes nothing.
	SetState(ctx context.Context, id string, proposed State, opts *SetStateOptions) (*Outcome, error)
}

// SetStateOptions are the options of SetState; nil is the default.
type SetStateOptions struct {
	Force bool // whatever the rules say
}

// Reader is what those need who look.
type Reader interface {
	// FlowRun returns the run, or ErrNotFound.
	FlowRun(ctx context.Context, id string) (*FlowRun, error)
	// FlowRuns returns the chosen runs, the latest created first.
	FlowRuns(ctx context.Context, filter Filter) ([]*FlowRun, error)
	// States returns the states that the run had, the first one first.
	States(ctx context.Context, id string) ([]State, error)
}

// Finder is what those need who were told by a person which run is meant.
type Finder interface {
	// FindFlowRun returns the run whose id, name or beginning of an id is ref: the first of
	// these that fits. It is ErrNotFound or ErrAmbiguous when not one run is meant.
	FindFlowRun(ctx context.Context, ref string) (*FlowRun, error)
}

// Deleter is what those need who tidy up.
type Deleter interface {
	// DeleteFlowRun forgets the run and its states. One that is PENDING, RUNNING or CANCELLING
	// is ErrUnfinished.
	DeleteFlowRun(ctx context.Context, id string) error
}
