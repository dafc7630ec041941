// Package execute runs a bundle, inside the infrastructure: it fetches the document and its
// sidecar, proves both, puts the files into the working directory, runs the command and says
// what became of it.
//
//	record, err := execute.Run(ctx, "file:///var/lib/bundles", key, digest, nil)
//	os.Exit(record.ExitCode)
//
// The digest comes from the launch command, the sidecar's from the document: whoever can only
// write to the store cannot change what runs. Nothing is parsed, written into place or run
// before it was proven. A command is never run for a flow run that has ended, is being
// cancelled or is run by somebody else, as far as the orchestrator is told about it.
//
// # What a command finds
//
// The files of the bundle in its working directory, no standard input, and in its environment
//
//	FLOWSHIP_PARAMETERS       the parameters as a JSON object, unless they are too long for it
//	FLOWSHIP_PARAMETERS_FILE  a file with the parameters
//	FLOWSHIP_RESULT           where to write the result, if there is one: JSON, 64 MiB at most
//	FLOWSHIP_FLOW_RUN_ID      the id of the flow run, also as PREFECT__FLOW_RUN_ID
//
// # What it leaves
//
// The object results/<flow run id>.json beside the bundle, a [Record], and the run in a final
// state: COMPLETED for exit code 0, FAILED for another one and for a result that is no JSON,
// FAILED named TimedOut when it took too long, CRASHED when a signal ended it, when it was
// never run or when the record could not be stored, CANCELLED when it was being cancelled.
package execute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/orchestrator"
)

// Options are the options of [Run]; nil is the default.
type Options struct {
	// Dir is the working directory; "" is the current one.
	Dir string
	// Scratch is where Run makes a private directory, which it removes, for what the command
	// must not see among its files; "" is the system's temporary directory.
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
	Runs orchestrator.StateSetter
	// Signals are passed on to the command and its children. A hangup ends them.
	Signals <-chan os.Signal
	// Grouped says that signals come to the whole process group, the command included. Then
	// they are passed on only to a command that was not there yet, or has left the group.
	Grouped bool
	// Grace is how long the command may take to end; 0 means 10 seconds.
	Grace time.Duration
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

// Exit codes of a bundle that was not run; the command's own are passed through.
const (
	ExitRefused     = 3
	ExitNotFound    = 4
	ExitUnavailable = 5
	ExitTimedOut    = 124
)

// Run runs the bundle whose document has the key in the store at url, and the digest.
//
// The record says how the run ended, and with which code the process shall. The error is nil
// if the command was run, or could not be for a reason that lies in itself, such as that
// there is no such program.
func Run(ctx context.Context, url, key string, digest bundle.Digest, opts *Options) (*Record, error) {
	x := &execution{key: key, digest: digest, started: time.Now().UTC()}
	if opts != nil {
		x.Options = *opts
	}
	if err := x.defaults(); err != nil {
		return nil, fmt.Errorf("execute: %w", err)
	}
	defer os.RemoveAll(x.scratch)
	store, err := storage.Open(ctx, url, nil)
	if err != nil {
		return x.crashed(ctx, err)
	}
	defer store.Close()
	x.store = store
	return x.run(ctx)
}

// execution is one call of Run.
type execution struct {
	Options
	key      string
	digest   bundle.Digest
	scratch  string // made by this execution alone
	started  time.Time
	store    *storage.Store
	document *bundle.Document
	flowRun  FlowRun
}

func (x *execution) defaults() (err error) {
	if x.digest.IsZero() {
		return errors.New("no digest: a document is not run on trust")
	}
	if x.Dir, err = filepath.Abs(x.Dir); err != nil {
		return err
	}
	if x.Environ == nil {
		x.Environ = os.Environ()
	}
	if x.Stdout == nil {
		x.Stdout = os.Stdout
	}
	if x.Stderr == nil {
		x.Stderr = os.Stderr
	}
	if x.Grace == 0 {
		x.Grace = 10 * time.Second
	}
	x.scratch, err = os.MkdirTemp(x.Scratch, "flowship-")
	return err
}

func (x *execution) run(ctx context.Context) (*Record, error) {
	if err := x.unlessStopped(ctx, x.prepare); err != nil {
		return x.crashed(ctx, err)
	}
	if x.Runs != nil {
		out, err := x.Runs.SetState(ctx, x.FlowRunID, orchestrator.NewState(orchestrator.TypeRunning, ""), nil)
		if err != nil {
			return x.crashed(ctx, err)
		}
		if out.Status != orchestrator.Accepted {
			err := &bundle.Error{Kind: bundle.KindRefused, Path: x.FlowRunID, Reason: "the flow run is not to be run: " + out.Reason}
			return &Record{ID: x.FlowRunID, State: out.State, ExitCode: ExitRefused, Started: x.started, Ended: time.Now().UTC(), Told: true}, err
		}
	}
	return x.finish(ctx, x.command(ctx))
}

// unlessStopped runs do, and gives it up when a signal comes.
func (x *execution) unlessStopped(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	select {
	case err := <-done:
		return err
	case s := <-x.Signals:
		stopped := &stoppedError{s}
		cancel(stopped)
		<-done
		return stopped
	}
}

// stoppedError: a signal came before the command was run.
type stoppedError struct{ signal os.Signal }

func (e *stoppedError) Error() string {
	return fmt.Sprintf("stopped by signal %q before the command was started", e.signal)
}

// crashed ends a run whose command was not run.
func (x *execution) crashed(ctx context.Context, err error) (*Record, error) {
	e := &ending{State: orchestrator.NewState(orchestrator.TypeCrashed, err.Error()), code: exitCode(err)}
	record, reportErr := x.finish(ctx, e)
	return record, errors.Join(fmt.Errorf("execute: %w", err), reportErr)
}

func exitCode(err error) int {
	var stopped *stoppedError
	switch {
	case errors.As(err, &stopped):
		return signalCode(stopped.signal)
	case bundle.KindOf(err) == bundle.KindTampered, bundle.KindOf(err) == bundle.KindRefused:
		return ExitRefused
	case errors.Is(err, storage.ErrNotFound):
		return ExitNotFound
	}
	return ExitUnavailable
}

// reportTime bounds how long the end of a run may take to be told.
const reportTime = time.Minute

// finish tells how the run ended.
func (x *execution) finish(ctx context.Context, e *ending) (*Record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTime)
	defer cancel()
	r := &Record{ID: x.FlowRunID, State: e.State, ExitCode: e.code, Result: e.result, Started: x.started, Ended: time.Now().UTC()}
	if x.FlowRunID == "" {
		return r, nil // the document that names the run could not be believed
	}
	if err := r.Settle(ctx, x.store, x.Runs); err != nil {
		return r, fmt.Errorf("execute: the end of the run could not be told: %w", err)
	}
	return r, nil
}
