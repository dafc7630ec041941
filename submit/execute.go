package submit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
)

// Step is what the command line of an executor says.
type Step struct {
	URL    string        // of the store
	Key    string        // of the document
	Digest bundle.Digest // of the document
	// Results is the URL of the store of the record; "" is that of the document.
	Results string
	// Storage is how the stores are opened; nil is the default.
	Storage *storage.OpenOptions
	// Grace is how long the command, and then what it left behind, may take to end; 0 means 10
	// seconds.
	Grace time.Duration
}

// Execute is the whole of an executor's process: it runs the step in the current directory, as
// [execute.Run] says, and tells the flow runs of the embedded default how it went, if the
// environment says that this is one of theirs. If it is not, and PREFECT_API_URL is set, it is one
// of Prefect's, as [execute.RunForPrefect] says. Signed URLs in the environment, see
// [AccessSigned], stand in place of the stores. Signals to the process are passed on to the
// command; that ctx ends is of no account. When somebody else ends the run, the command is
// stopped.
//
// When who launched the process is gone, and there is a process group of its own, Execute ends
// what the command left in it, by SIGTERM and after the grace period by SIGKILL, as its last act.
func Execute(ctx context.Context, step Step) (*execute.Record, error) {
	if step.Grace == 0 {
		step.Grace = 10 * time.Second
	}
	hangup := make(chan os.Signal, 1)
	notifyHangup(hangup)
	defer signal.Stop(hangup)
	record, err := executeStep(ctx, step)
	select {
	case <-hangup:
		if grouped() {
			endGroup(step.Grace)
		}
	default:
	}
	return record, err
}

// grouped reports whether the process has a group of its own, which somebody else signals.
func grouped() bool { return os.Getenv(envExecutes) != "" && os.Getenv(envStop) == "group" }

func executeStep(ctx context.Context, step Step) (*execute.Record, error) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, execute.PassedOn()...)
	defer signal.Stop(signals)
	ctx = context.WithoutCancel(ctx)
	opts := &execute.Options{Signals: signals, Grace: step.Grace, Results: step.Results, Storage: step.Storage}
	if text := os.Getenv(execute.EnvSigned); text != "" {
		signed, err := execute.ParseSigned(text)
		if err != nil {
			return nil, fmt.Errorf("submit: %w", err)
		}
		opts.Signed = signed
	}
	// Without a flow run, the other variables are leftovers of an environment further up.
	if opts.FlowRunID = os.Getenv(envExecutes); opts.FlowRunID != "" {
		opts.Scratch, opts.Grouped = os.Getenv(envScratch), grouped()
		state := os.Getenv(envState)
		if !filepath.IsAbs(state) {
			return nil, fmt.Errorf("submit: %s: %q is not an absolute path", envState, state)
		}
		runs, err := local.Open(ctx, databasePath(state), nil)
		if err != nil {
			return nil, fmt.Errorf("submit: %w", err)
		}
		defer runs.Close()
		opts.Runs, opts.Logs = runs, runs
		length, _ := time.ParseDuration(os.Getenv(envLease))
		lease := orchestrator.NewLease("executor", length)
		if err := runs.Hold(ctx, opts.FlowRunID, lease); err != nil {
			return nil, notToBeRun(opts.FlowRunID, err)
		}
		held, stopKeeping := orchestrator.Keep(ctx, runs, lease)
		defer stopKeeping()
		ctx = held
	} else if os.Getenv("PREFECT_API_URL") != "" {
		code, err := execute.RunForPrefect(ctx, step.URL, step.Key, step.Digest, opts)
		return &execute.Record{ExitCode: code}, err
	}
	return execute.Run(ctx, step.URL, step.Key, step.Digest, opts)
}

// notToBeRun: the executor could not take its lease.
func notToBeRun(flowRunID string, err error) error {
	if errors.Is(err, orchestrator.ErrLeaseLost) || errors.Is(err, orchestrator.ErrNotFound) {
		return &bundle.Error{Kind: bundle.KindRefused, Path: flowRunID, Reason: "the flow run is not to be run", Err: err}
	}
	return fmt.Errorf("submit: %w", err)
}
