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
	// ErrNoWorkPool: there is no such work pool.
	ErrNoWorkPool = errors.New("work pool not found")
	// ErrExists: there is a work pool of that name already.
	ErrExists = errors.New("it exists already")
	// ErrName: no work pool can be called that.
	ErrName = errors.New("not a name of a work pool")
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
	Version    string // of the flow, as its author counts; "" without one
	Labels     map[string]string
	Bundle     Bundle
	Results    string          // URL of the store of its record; "" is the bundle's
	Submission json.RawMessage // see [NewFlowRun]
	// JobVariables are what the run says to the base job template of its work pool: a JSON object.
	JobVariables json.RawMessage
	// Infrastructure is what the platform calls the job that executes the run; "" before it was
	// launched. Prefect: infrastructure_pid.
	Infrastructure string
	DeploymentID   string // of the Prefect deployment that it is a run of; "" for none
	Priority       int    // of two runs that are due, that with the lower number goes first
	Policy         Policy
	RunCount       int // how often it became RUNNING
	State          State
	Created        time.Time
	Started        time.Time // when it was first RUNNING; zero before
	Ended          time.Time // when it became final; zero before
}

// Policy says what becomes of a run that failed. Prefect: empirical_policy.
type Policy struct {
	Retries    int           // how often it is run again
	RetryDelay time.Duration // and how much later
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
	Version    string
	Labels     map[string]string
	Bundle     Bundle
	Results    string          // see [FlowRun]
	Submission json.RawMessage // what the submitter wants to remember, as a JSON object; nil for {}
	// JobVariables, Priority and Policy are those of [FlowRun]; nil variables are {}.
	JobVariables json.RawMessage
	Priority     int
	Policy       Policy
	State        State
	// Parent is the id of the flow run that submits this one; "" is none, as is one that is not known.
	Parent string
	// Lease is taken together with the creation. A run that is created PENDING needs one:
	// without, nobody looks after it.
	Lease *Lease
}

// Filter chooses flow runs; the zero Filter chooses all.
type Filter struct {
	States   []StateType // those in one of these; none: any
	WorkPool string      // those of this work pool; "": any
	Limit    int         // 0: no limit
}

// Creator is what a submitter needs.
type Creator interface {
	// EnsureFlow returns the id of the flow with this name, which is created if need be.
	EnsureFlow(ctx context.Context, name string) (id string, err error)
	// CreateFlowRun creates a run in the state that it is given, whatever the rules say. One that
	// is SCHEDULED in a work pool which does not exist is ErrNoWorkPool: nobody would take it.
	CreateFlowRun(ctx context.Context, run NewFlowRun) (*FlowRun, error)
}

// Assigner is a backend that gives its flow runs their ids itself: what CreateFlowRun gets has
// none. A document that names its run is then stored after the run was created.
type Assigner interface {
	// SetBundle says where the bundle is of a run that was created before it was stored, and
	// what the submitter wants to remember, see [NewFlowRun].
	SetBundle(ctx context.Context, id string, b Bundle, submission json.RawMessage) error
}

// Notifier is a backend that tells of changes before those who look again and again see them.
type Notifier interface {
	// Notify calls heard for every flow run that became SCHEDULED, CANCELLING or final, until ctx
	// ends; the calls follow each other. Some changes may be missed or told twice: who has to
	// know looks as well, though less often while connected has last been told true.
	Notify(ctx context.Context, heard func(flowRunID string, t StateType), connected func(bool))
}

// Deployments is what those need who launch runs of Prefect's deployments.
type Deployments interface {
	// Deployment returns the deployment, or ErrNotFound.
	Deployment(ctx context.Context, id string) (*Deployment, error)
}

// Deployment is what a launcher has to know of a deployment.
type Deployment struct {
	ID, Name     string
	JobVariables json.RawMessage // a JSON object
	Updated      time.Time
}

// Labeler is a backend whose runs can be labelled after they were created.
type Labeler interface {
	// Label adds labels to a run; what is there under the same name is replaced.
	Label(ctx context.Context, id string, labels map[string]string) error
}

// StateSetter is what those need who run or watch a flow run.
type StateSetter interface {
	// SetState proposes a state. That it was not accepted is no error: the outcome says so.
	// Proposing a state again, by its ID, changes nothing. A run that becomes SCHEDULED for
	// anybody to take has no infrastructure and no leases any more, and one that goes on after
	// its end no infrastructure; without its work pool, none becomes SCHEDULED: ErrNoWorkPool.
	SetState(ctx context.Context, id string, proposed State, opts *SetStateOptions) (*Outcome, error)
}

// SetStateOptions are the options of SetState; nil is the default.
type SetStateOptions struct {
	Force bool // whatever the rules say
	// Follows, unless it is "", is the ID of the state that the proposed one is to follow. When
	// another one holds by now, the proposed one is rejected, also with Force.
	Follows string
	// Lease is taken together with the state, if the state is accepted: who claims a run by
	// PENDING looks after it from that moment.
	Lease *Lease
}

// Launched is what those need who launch a run.
type Launched interface {
	// SetInfrastructure notes what the platform calls the run's job.
	SetInfrastructure(ctx context.Context, id, infrastructure string) error
}

// Queue is what a worker needs to find its work.
type Queue interface {
	// ScheduledFlowRuns returns runs of the work pool that are SCHEDULED and due before the
	// moment, zero for now, at most limit: those with the lower priority number first, then by
	// when they are due. None of a pool that is paused, and not more than the pool's concurrency
	// limit leaves room for. It is a look, not a claim: the claim is the transition to PENDING, of
	// which one succeeds, and which is rejected when the pool has no room left. Runs that are
	// AwaitingRetry are not among them: who executes them runs them again.
	ScheduledFlowRuns(ctx context.Context, workPool string, before time.Time, limit int) ([]*FlowRun, error)
}

// StateReader is what those need who wait for many.
type StateReader interface {
	// CurrentStates returns the states of the runs with these ids; one that is not there is left
	// out.
	CurrentStates(ctx context.Context, ids []string) (map[string]State, error)
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
	// DeleteFlowRun forgets the run, its states and its logs. One that is under way, see
	// [State.UnderWay], is ErrUnfinished.
	DeleteFlowRun(ctx context.Context, id string) error
}
