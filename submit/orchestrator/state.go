package orchestrator

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// StateType is what a state means to the orchestrator; its name is what it means to people.
type StateType string

// Prefect's state types.
const (
	TypeScheduled  StateType = "SCHEDULED"
	TypePending    StateType = "PENDING"
	TypeRunning    StateType = "RUNNING"
	TypePaused     StateType = "PAUSED"
	TypeCancelling StateType = "CANCELLING"
	TypeCompleted  StateType = "COMPLETED"
	TypeFailed     StateType = "FAILED"
	TypeCrashed    StateType = "CRASHED"
	TypeCancelled  StateType = "CANCELLED"
)

// Final reports whether a run in such a state has ended.
func (t StateType) Final() bool {
	return slices.Contains([]StateType{TypeCompleted, TypeFailed, TypeCrashed, TypeCancelled}, t)
}

// UnderWay reports whether somebody has to look after a run in any such state; see
// [State.UnderWay] for one that is SCHEDULED.
func (t StateType) UnderWay() bool {
	return slices.Contains([]StateType{TypePending, TypeRunning, TypeCancelling}, t)
}

// UnderWay reports whether somebody has to look after a run in this state: its type says so, or
// its executor waits to run it again.
func (s State) UnderWay() bool { return s.Type.UnderWay() || s.AwaitsRetry() }

// AwaitsRetry reports whether the run failed and its executor will run it again. It is SCHEDULED,
// but for nobody else.
func (s State) AwaitsRetry() bool { return s.Type == TypeScheduled && s.Name == NameAwaitingRetry }

// State is a state of a flow run.
type State struct {
	// ID is a UUID, made by who proposes the state, so that it can be proposed again.
	ID        string    `json:"-"`
	Type      StateType `json:"type"`
	Name      string    `json:"name"`
	Message   string    `json:"message"`
	Timestamp time.Time `json:"timestamp"`
	// Scheduled is when a SCHEDULED run is due; zero is at once.
	Scheduled time.Time `json:"-"`
	// Data is what a run resulted in, or where that is, as Prefect keeps it in a state: JSON, nil
	// for nothing. A backend whose runs leave records beside their bundles does not keep it.
	Data json.RawMessage `json:"-"`
}

// NewState makes a state of the type, now. Its name is Prefect's default for the type.
func NewState(t StateType, message string) State {
	return NewNamedState(t, t.defaultName(), message)
}

// NewNamedState makes a state with a name of its own.
func NewNamedState(t StateType, name, message string) State {
	return State{ID: uuid.NewString(), Type: t, Name: name, Message: message, Timestamp: time.Now().UTC()}
}

// Names of states that are not the type's default.
const (
	NameTimedOut      = "TimedOut"      // FAILED: it took too long
	NameAwaitingRetry = "AwaitingRetry" // SCHEDULED: it failed, and its executor will run it again
	NameRetrying      = "Retrying"      // RUNNING: again
	NameSubmitting    = "Submitting"    // PENDING: claimed, about to be launched
)

func (t StateType) defaultName() string {
	if t == "" {
		return ""
	}
	return string(t[:1]) + strings.ToLower(string(t[1:]))
}

// Status is the answer to a proposed state.
type Status string

// Prefect's answers, as far as there is a use for them.
const (
	Accepted Status = "ACCEPT" // the proposed state holds
	Rejected Status = "REJECT" // another state holds, which the proposer shall take for the run's
	Aborted  Status = "ABORT"  // nothing was written; the proposer shall leave the run alone
)

// Outcome is what became of a proposed state.
type Outcome struct {
	Status Status
	State  State  // what holds now
	Reason string // why the proposed state was not accepted
}
