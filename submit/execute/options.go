package execute

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"time"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/orchestrator"
)

// StorageOptions are how stores are opened, for those who have to do with no other part of them.
type StorageOptions = storage.OpenOptions

// Options are the options of [Run]; nil is the default. What they call the command is also the
// Python interpreter or the program of a flow.
type Options struct {
	// Dir is the working directory; "" is the current one.
	Dir string
	// Scratch is where Run makes a private directory, which it removes, for what the command
	// must not see among its files; "" is the system's temporary directory, or the current
	// directory where there is none that can be written.
	Scratch string
	// FlowRunID is the run that the caller knows this to be. It is told what went wrong even
	// when the document cannot be believed; a document of another run is refused.
	FlowRunID string
	// Environ is the command's environment without what this package adds; nil is the
	// process's own.
	Environ []string
	// Stdout and Stderr get the command's output; nil is the process's own.
	Stdout, Stderr io.Writer
	// Runs is told the states of the run; nil is nobody.
	Runs Runs
	// Watcher is who asks for Runs what becomes of them. [RunForPrefect] has use for it: nil leaves
	// flows of Python to Prefect's own executor, as Runs that are nil do.
	Watcher *orchestrator.Watcher
	// Logs gets what the run says; nil is nobody.
	Logs orchestrator.LogWriter
	// Storage is how the stores are opened; nil is the default.
	Storage *storage.OpenOptions
	// Results is the URL of the store that gets the record; "" is that of the bundle.
	Results string
	// Signed, if not nil, stands in place of the stores and of the credentials for them.
	Signed *Signed
	// Registry fetches bundles with URLs of registries; nil: there are none.
	Registry Registry
	// Signals are passed on to the command and its children. A hangup ends them.
	Signals <-chan os.Signal
	// Warn, if not nil, is told of existing files that are overwritten.
	Warn func(text string)
	// Grouped says that signals come to the whole process group, the command included. Then
	// they are passed on only to a command that was not there yet, or has left the group.
	Grouped bool
	// Grace is how long the command may take to end; 0 means 10 seconds.
	Grace time.Duration
}

// Runs is what an executor needs to know and to say about flow runs.
type Runs interface {
	orchestrator.StateSetter
	FlowRun(ctx context.Context, id string) (*orchestrator.FlowRun, error)
}

// FlowRun is the flow_run member of documents that this package runs.
type FlowRun struct {
	ID         string          `json:"id"`
	FlowID     string          `json:"flow_id"`
	Name       string          `json:"name"`
	Parameters json.RawMessage `json:"parameters"`
	Tags       []string        `json:"tags"`
	// Timeout is how many seconds the command may run; 0 is without end.
	Timeout float64 `json:"timeout_seconds,omitempty"`
}

// Encode is [json.Marshal] that keeps the characters of the parameters.
func (r *FlowRun) Encode() (json.RawMessage, error) { return encodeJSON(r) }

// Exit codes of a bundle that was not run, for too long, or until it was cancelled. A command's
// own are passed through, a flow's function that did not return gives 1.
const (
	exitFailed      = 1
	ExitRefused     = 3
	ExitNotFound    = 4
	ExitUnavailable = 5
	ExitTimedOut    = 124
	ExitCancelled   = 130
)
