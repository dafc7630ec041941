// Package executor is the whole of an executor's process: it runs the step that its command line
// names, and tells the flow run that its environment names how it went. What is linked into a
// program beside it is handed to it, so that a small one can be made for images.
//
//	step, err := executor.ParseStep(os.Args[3:])
//	record, err := executor.Run(ctx, *step, nil)
//	if untold := executor.Untold(record, err); untold != nil {
//		fmt.Fprintln(os.Stderr, "error:", untold)
//	}
//	os.Exit(executor.ExitCode(record, err))
//
// The flow run is one of the embedded default ([EnvState] says where), one of the Prefect server
// that the settings name, or none; then the record alone, in the store, says how the run ended.
package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
)

// What an executor finds in its environment.
const (
	EnvExecutes = "FLOWSHIP_EXECUTES" // the id of the flow run that it is there for
	EnvLease    = "FLOWSHIP_LEASE"    // how long its lease on it shall be
	EnvState    = "FLOWSHIP_STATE"    // the state directory of the flow run; "" for one of a server
	EnvScratch  = "FLOWSHIP_SCRATCH"  // a directory that is removed with the job
	EnvStop     = "FLOWSHIP_STOP"     // "group": the process has a group of its own, which gets the signals
	// EnvWatched: who launched the process reads its record, and says how the run ended.
	EnvWatched = "FLOWSHIP_WATCHED"
	// As Prefect's own workers call the flow run.
	EnvPrefectRun = "PREFECT__FLOW_RUN_ID"
)

// Options are what a program brings along; nil is a program without any of it.
type Options struct {
	// Stores says how stores are opened. The server is that of the flow run, or nil. Nil opens
	// folders.
	Stores func(*Server) *storage.OpenOptions
	// Registry is [execute.Options.Registry].
	Registry execute.Registry
	// Embedded opens the flow runs of the embedded default with this state directory; nil leaves
	// them to who launched the process.
	Embedded func(ctx context.Context, state string) (Runs, error)
	// Stdout and Stderr get the command's output; nil is the process's own.
	Stdout, Stderr io.Writer
	// Grace is how long the command, and then what it left behind, may take to end; 0 means 10
	// seconds.
	Grace time.Duration
}

// Run runs the step in the current directory, as [execute.Run] says, and tells the flow runs of
// the embedded default how it went, if the environment says that this is one of theirs. One of a
// Prefect server's is run as [execute.RunForPrefect] says; without a digest, that which the server
// keeps counts. Signed URLs in the environment stand in place of the stores. Signals to the
// process are passed on to the command; that ctx ends is of no account. When somebody else ends
// the run, the command is stopped.
//
// When who launched the process is gone, and there is a process group of its own, Run ends what
// the command left in it, by SIGTERM and after the grace period by SIGKILL, as its last act.
func Run(ctx context.Context, step Step, opts *Options) (*execute.Record, error) {
	if opts == nil {
		opts = &Options{}
	}
	return attended(ctx, opts, func(p *Party, how *execute.Options) (*execute.Record, error) {
		return run(p, step, opts, how)
	})
}

// RunDeployment runs the flow run of a deployment of the Prefect server, which the environment
// names, as [execute.RunDeployment] says; for the rest it is as [Run].
func RunDeployment(ctx context.Context) (*execute.Record, error) {
	return attended(ctx, &Options{}, func(p *Party, how *execute.Options) (*execute.Record, error) {
		if p.prefect == nil || p.id == "" {
			return nil, fmt.Errorf("executor: a deployment's flow run is what %s names, of the server that PREFECT_API_URL names", EnvPrefectRun)
		}
		code, err := p.forPrefect(how, func() (int, error) { return execute.RunDeployment(p.ctx, how) })
		return &execute.Record{ExitCode: code}, err
	})
}

// attended has do run what there is, passes signals on to it, and ends with the group that is left.
func attended(ctx context.Context, opts *Options, do func(*Party, *execute.Options) (*execute.Record, error)) (*execute.Record, error) {
	grace := opts.Grace
	if grace == 0 {
		grace = 10 * time.Second
	}
	hangup := make(chan os.Signal, 1)
	notifyHangup(hangup)
	defer signal.Stop(hangup)
	record, err := attached(ctx, opts, grace, do)
	select {
	case <-hangup:
		if grouped() {
			endGroup(grace)
		}
	default:
	}
	return record, err
}

func attached(ctx context.Context, opts *Options, grace time.Duration, do func(*Party, *execute.Options) (*execute.Record, error)) (*execute.Record, error) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, execute.PassedOn()...)
	defer signal.Stop(signals)
	p, err := Attach(context.WithoutCancel(ctx), opts.Embedded, nil)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return do(p, &execute.Options{Signals: signals, Grace: grace, Stdout: opts.Stdout, Stderr: opts.Stderr})
}

// grouped reports whether the process has a group of its own, which somebody else signals.
func grouped() bool { return os.Getenv(EnvExecutes) != "" && os.Getenv(EnvStop) == "group" }

func run(p *Party, step Step, opts *Options, how *execute.Options) (*execute.Record, error) {
	how.Results, how.Registry = step.Results, opts.Registry
	if text := os.Getenv(execute.EnvSigned); text != "" {
		signed, err := execute.ParseSigned(text)
		if err != nil {
			return nil, fmt.Errorf("executor: %w", err)
		}
		how.Signed = signed
	}
	if how.Storage = foldersOnly(); opts.Stores != nil {
		how.Storage = opts.Stores(p.prefect)
	}
	if p.prefect != nil {
		code, err := p.RunForPrefect(step.URL, step.Key, step.Digest, how)
		return &execute.Record{ExitCode: code}, err
	}
	if how.FlowRunID = p.id; p.id != "" {
		how.Scratch, how.Grouped = os.Getenv(EnvScratch), grouped()
		how.Runs, how.Logs = p.runs, p.runs
	}
	return execute.Run(p.ctx, step.URL, step.Key, step.Digest, how)
}

// foldersOnly opens folders, and says of object stores what there is to do.
func foldersOnly() *storage.OpenOptions {
	refuse := func(_ context.Context, u *url.URL, _ *storage.Credentials) (storage.Bucket, error) {
		return nil, fmt.Errorf("this executor opens no %q: it needs URLs that are signed for the run (storage_access=signed), or the whole flowship in its place", u.Scheme+"://")
	}
	return &storage.OpenOptions{Openers: map[string]storage.Opener{"s3": refuse, "gs": refuse, "azblob": refuse}}
}

// Untold is what a process with what [Run] returned has to say on its standard error: why the step
// did not complete, or nil where the program has said it, or who launched the process does.
func Untold(record *execute.Record, err error) error {
	switch {
	case err == nil && record.Unsaid != "" && os.Getenv(EnvWatched) == "":
		return errors.New(record.Unsaid)
	case err != nil && (record == nil || !record.Told):
		return err
	}
	return nil
}

// ExitCode is the exit code of a process with what [Run] returned.
func ExitCode(record *execute.Record, err error) int {
	switch {
	case record != nil && (record.ExitCode != 0 || err == nil):
		return record.ExitCode
	case bundle.KindOf(err) == bundle.KindRefused, bundle.KindOf(err) == bundle.KindTampered:
		return execute.ExitRefused
	case bundle.KindOf(err) == bundle.KindNotFound:
		return execute.ExitNotFound
	}
	return execute.ExitUnavailable
}
