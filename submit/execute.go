package submit

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
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
// environment says that this is one of theirs. One of a Prefect server's is run as
// [execute.RunForPrefect] says; without a digest, that which the server keeps counts. Signed URLs
// in the environment, see [AccessSigned], stand in place of the stores. Signals to the process are
// passed on to the command; that ctx ends is of no account. When somebody else ends the run, the
// command is stopped.
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
	opts := &execute.Options{Signals: signals, Grace: step.Grace, Results: step.Results, Storage: stores(step.Storage)}
	if text := os.Getenv(execute.EnvSigned); text != "" {
		signed, err := execute.ParseSigned(text)
		if err != nil {
			return nil, fmt.Errorf("submit: %w", err)
		}
		opts.Signed = signed
	}
	p, err := attach(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer p.close()
	if p.prefect != nil {
		opts.Storage = withBlocks(opts.Storage, p.prefect.block)
		code, err := p.runForPrefect(step.URL, step.Key, step.Digest, opts)
		return &execute.Record{ExitCode: code}, err
	}
	if opts.FlowRunID = p.id; p.id != "" {
		opts.Scratch, opts.Grouped = os.Getenv(envScratch), grouped()
		opts.Runs, opts.Logs = p.runs, p.runs
	}
	return execute.Run(p.ctx, step.URL, step.Key, step.Digest, opts)
}
