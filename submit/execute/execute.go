// Package execute runs a bundle, inside the infrastructure: it fetches the document and its
// sidecar, proves both, puts the files into the working directory, runs the command or the
// flow and says what became of it.
//
//	record, err := execute.Run(ctx, "file:///var/lib/bundles", key, digest, nil)
//	os.Exit(record.ExitCode)
//
// The digest comes from the launch command, the sidecar's from the document: whoever can only
// write to the store cannot change what runs. Nothing is parsed, written into place or run
// before it was proven. Nothing is ever run for a flow run that has ended, is being cancelled
// or is run by somebody else, as far as the orchestrator is told about it. Where the options have
// [Signed] URLs, these stand in place of the stores, and no credentials are needed.
//
// # What a program finds
//
// The files of the bundle in its working directory, no standard input, and in its environment
//
//	FLOWSHIP_PARAMETERS       the parameters as a JSON object, unless they are too long for it
//	FLOWSHIP_PARAMETERS_FILE  a file with the parameters
//	FLOWSHIP_RESULT           where a command may write its result: JSON, 64 MiB at most
//	FLOWSHIP_FLOW_RUN_ID      the id of the flow run, also as PREFECT__FLOW_RUN_ID
//	FLOWSHIP_LOGS             a file to which it may append records of its logger
//	FLOWSHIP_FAILURE          flows only: where to say why the flow did not return, as text
//	FLOWSHIP_FLOW             flows in Go only: the name of the flow to run
//
// A record is a line of JSON, of which only the message is needed; level is 10, 20, 30 or 40:
//
//	{"level": 20, "message": "training dataset=a", "timestamp": "2026-01-02T03:04:05.123Z", "name": "etl"}
//
// # What becomes of what it says
//
// Standard output and error are pipes; what comes is passed on unchanged, and each line is
// also written to the run's logs, up to 16 MiB for a run. Records are shown on the standard
// error and written to the logs, also those that a program left when it was killed. Where output
// and error end in the same file, they share a pipe, so that their order is kept. What
// the program left running and still has its output is not waited for. Logs that cannot be
// written fail no run. Where there is nobody to write them, files are passed to the program as
// they are.
//
// # Attempts
//
// A run that failed or took too long, and that the orchestrator then calls AwaitingRetry, is run
// again when it is due, by the same process and in the same directory; only results, failures and
// records of the earlier attempt are gone. The time limit is that of an attempt. Who asks for an
// end means all of them.
//
// # Flows in Go
//
// The program is fetched, proven by the digest in its key and run in the working directory. It
// runs the flow that FLOWSHIP_FLOW names, writes what it returned to FLOWSHIP_RESULT and ends
// with exit code 0, or else writes why it did not return to FLOWSHIP_FAILURE. A program for
// another system or architecture is refused.
//
// # Flows in Python
//
// Python 3.9 or later, nothing else, calls the function that "path/flow.py:name" names: a plain
// one or that of a Prefect flow, sync or async. [EnvPython] chooses the interpreter. The file is
// imported as Prefect does it, under its own name, so a block for __main__ does not run. The
// parameters must fit the signature: names that are unknown or missing, and values that are not
// of the annotated int, float, str, bool, list, dict, or a union of them, are refused before the
// call. Values for other annotations stay as JSON gave them. What the function returns is the
// result, dataclasses and models of pydantic as objects; what is not JSON then fails the run.
// The root logger has a handler that makes records of what is logged, from INFO on.
//
// A Prefect flow is called as a function here, without Prefect's engine: there is no run logger
// for it, and a task is to Prefect one outside of any flow, for which it starts a server of its
// own. Where PREFECT_API_URL is set, [Run] refuses to run flows of Python: [RunForPrefect] runs
// those of the Prefect server.
//
// # Flows in Python under Prefect
//
// [RunForPrefect] runs them with Prefect's engine, in one interpreter. Prefect's own executor,
// "python -m prefect.bundles.execute", is an interpreter that starts a second one; this package
// does what the first one is for: it cancels a flow when the server says so, with the word that
// makes the flow's process leave the state to it; tells how a process ended that can tell no
// more, with the words of the Prefect that is installed; and has the hooks run of a flow
// whose process is gone, in an interpreter of their own, which only flows with such hooks cost.
// States, logs and results are those that Prefect's executor would leave, but for these:
//
//	generators                 are run to their end; Prefect's executor fails or forgets them
//	a deadline                 of the document ends the run FAILED, TimedOut
//	exit code 0 without an end is CRASHED; Prefect's leaves such a run RUNNING
//	SIGTERM                    is passed on, and the engine says CRASHED; Prefect's leaves the flow
//	                           behind. PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR is that of
//	                           "prefect flow-run execute", which calls the state AwaitingRetry
//	                           where it is Rescheduled here
//	cancelling                 takes as long as the flow takes to end, not two seconds at least; there is
//	                           no event prefect.runner.cancelled-flow-run
//
// What bounds a run is importing Prefect: 1.2 of 1.7 seconds of computing for a flow that does
// nothing, where Prefect's executor takes 3.1. An environment whose modules were not compiled,
// as those that uv installs without --compile-bytecode, and that may not be written to or where
// PYTHONDONTWRITEBYTECODE is set, adds two seconds to each run.
//
// Prefect's own executor is still used where [EnvPrefectExecutor] says so, where nobody is told of
// states or watches them, with PREFECT_RUNNER_CRASH_ON_CANCELLATION_FAILURE, and for
// a Prefect whose engine has other names.
//
// [RunDeployment] looks after flow runs of deployments in the same way, for which the engine itself
// finds the flow.
//
// # What it leaves
//
// The object results/<flow run id>.json beside the bundle or in a store of its own, a [Record],
// which is there before the run is in its final state:
//
//	COMPLETED         the command ended with exit code 0, the function returned
//	FAILED            another exit code, an exception (its text is the state's message), a
//	                  result that is no JSON, parameters that do not fit
//	FAILED, TimedOut  it took too long
//	CRASHED           a signal ended it, the flow ended its process (sys.exit, os.Exit, a panic
//	                  in another goroutine), or it was never run, was stopped between two
//	                  attempts, or its record could not be stored
//	CANCELLED         it was being cancelled
package execute

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/orchestrator"
)

// Run runs the bundle whose document has the key in the store at url, and the digest.
//
// The record says how the run ended, and with which code the process shall. The error is nil
// if the command was run, or could not be for a reason that lies in itself, such as that
// there is no such program.
func Run(ctx context.Context, url, key string, digest bundle.Digest, opts *Options) (*Record, error) {
	if digest.IsZero() {
		return nil, errors.New("execute: no digest: a document is not run on trust")
	}
	x, err := newExecution(key, digest, opts)
	if err != nil {
		return nil, fmt.Errorf("execute: %w", err)
	}
	defer os.RemoveAll(x.scratch)
	if err := x.openObjects(ctx, url); err != nil {
		return x.crashed(ctx, err)
	}
	defer x.objects.close()
	return x.run(ctx)
}

// execution is one call of Run.
type execution struct {
	Options
	key      string
	digest   bundle.Digest
	scratch  string // made by this execution alone
	started  time.Time
	objects  objects // nil before they are opened
	document *bundle.Document
	flowRun  FlowRun
	// executable is the interpreter of a Python flow, or the program of a Go flow.
	executable string
	stdout     *sink
	stderr     *sink
	book       *logbook
	// heard is a signal to end that came while the command was running; nil: none.
	heard os.Signal
}

func newExecution(key string, digest bundle.Digest, opts *Options) (x *execution, err error) {
	x = &execution{key: key, digest: digest, started: time.Now().UTC()}
	if opts != nil {
		x.Options = *opts
	}
	if x.Dir, err = filepath.Abs(x.Dir); err != nil {
		return nil, err
	}
	if x.Environ == nil {
		x.Environ = os.Environ()
	}
	x.Environ = withoutSigned(x.Environ)
	if x.Stdout == nil {
		x.Stdout = os.Stdout
	}
	if x.Stderr == nil {
		x.Stderr = os.Stderr
	}
	if x.stdout = newSink(x.Stdout); sameFile(x.Stdout, x.Stderr) {
		x.stderr = x.stdout
	} else {
		x.stderr = newSink(x.Stderr)
	}
	if x.Grace == 0 {
		x.Grace = 10 * time.Second
	}
	x.scratch, err = makeScratch(x.Scratch)
	return x, err
}

// makeScratch makes a directory in parent, or where temporary ones are. An image may have no place
// for those, or one that is read-only: then it is the working directory, as in Python.
func makeScratch(parent string) (string, error) {
	dir, err := os.MkdirTemp(parent, "flowship-")
	if err == nil || parent != "" {
		return dir, err
	}
	work, workErr := os.Getwd()
	if workErr != nil {
		return "", err
	}
	if dir, workErr = os.MkdirTemp(work, "flowship-"); workErr != nil {
		return "", err
	}
	return dir, nil
}

func (x *execution) run(ctx context.Context) (*Record, error) {
	if err := x.unlessStopped(ctx, x.prepare); err != nil {
		return x.crashed(ctx, err)
	}
	x.book = openLogbook(ctx, x.Logs, x.FlowRunID, x.stderr)
	defer x.book.close()
	name := ""
	for {
		refused, err := x.begin(ctx, name)
		if refused != nil || err != nil {
			return refused, err
		}
		e := x.invoke(ctx)
		x.book.flush(flushTime)
		due := x.retried(ctx, e)
		if due == nil {
			return x.finish(ctx, e)
		}
		if e := x.await(ctx, *due); e != nil {
			return x.finish(ctx, e)
		}
		name = orchestrator.NameRetrying
	}
}

// begin makes the run RUNNING. Where it is not to be, it returns the record of that.
func (x *execution) begin(ctx context.Context, name string) (*Record, error) {
	if x.Runs == nil {
		return nil, nil
	}
	out, err := x.claim(ctx, name)
	switch {
	case err != nil:
		return x.crashed(ctx, err)
	case out.Status == orchestrator.Accepted:
		return nil, nil
	case name != "" && out.State.Type == orchestrator.TypeCancelling:
		// It has run before, so it is for this executor to say how it ends.
		return x.finish(ctx, &ending{State: orchestrator.NewState(orchestrator.TypeCancelled, out.State.Message), code: ExitCancelled})
	}
	err = &bundle.Error{Kind: bundle.KindRefused, Path: x.FlowRunID, Reason: "the flow run is not to be run: " + out.Reason}
	return &Record{ID: x.FlowRunID, State: out.State, ExitCode: ExitRefused, Started: x.started, Ended: time.Now().UTC(), Told: true}, err
}

// claim proposes that the run is RUNNING. Of several executors that are started for a run, one is
// the first: the rules alone would let the others begin as well.
func (x *execution) claim(ctx context.Context, name string) (*orchestrator.Outcome, error) {
	state := orchestrator.NewState(orchestrator.TypeRunning, "")
	if name != "" {
		state.Name = name
		return x.Runs.SetState(ctx, x.FlowRunID, state, nil)
	}
	run, err := x.Runs.FlowRun(ctx, x.FlowRunID)
	if err != nil {
		return nil, err
	}
	if run.State.Type == orchestrator.TypeRunning || run.State.AwaitsRetry() {
		return &orchestrator.Outcome{Status: orchestrator.Aborted, State: run.State, Reason: "another executor has begun"}, nil
	}
	return x.Runs.SetState(ctx, x.FlowRunID, state, &orchestrator.SetStateOptions{Follows: run.State.ID})
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
	case errors.Is(err, storage.ErrNotFound), bundle.KindOf(err) == bundle.KindNotFound, errors.Is(err, ErrNoPython):
		return ExitNotFound
	}
	return ExitUnavailable
}

// reportTime bounds how long the end of a run may take to be told.
const reportTime = time.Minute

// finish tells how the run ended.
func (x *execution) finish(ctx context.Context, e *ending) (*Record, error) {
	// Whoever ended the run may have removed all that was left of it.
	lost := errors.Is(context.Cause(ctx), orchestrator.ErrLeaseLost)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTime)
	defer cancel()
	r := &Record{ID: x.FlowRunID, State: e.State, ExitCode: e.code, Result: e.result, Started: x.started, Ended: time.Now().UTC()}
	if x.Runs == nil && !e.said && e.Type != orchestrator.TypeCompleted {
		r.Unsaid = e.Message
	}
	if x.FlowRunID == "" {
		return r, nil // the document that names the run could not be believed
	}
	put := x.recorder()
	if lost {
		put = nil
	}
	// Not x.Runs itself: an interface that holds a nil one is not nil.
	var runs orchestrator.StateSetter
	if x.Runs != nil {
		runs = x.Runs
	}
	if err := r.settle(ctx, put, runs); err != nil {
		return r, fmt.Errorf("execute: the end of the run could not be told: %w", err)
	}
	return r, nil
}
