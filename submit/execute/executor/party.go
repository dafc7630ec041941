package executor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// Runs is where a flow run lives that an executor reports to.
type Runs interface {
	execute.Runs
	orchestrator.LogWriter
	orchestrator.Leaser
	io.Closer
}

// Party is what an executor is to the flow run that its environment names: who reports it.
type Party struct {
	id      string  // of the flow run; "" when there is none
	runs    Runs    // nil without a flow run
	prefect *Server // nil for the embedded default
	// ctx ends when somebody else has ended the run.
	ctx  context.Context
	stop func()
}

// Attach finds the flow run, and takes a lease on it. It is one of the embedded default's, one of
// a Prefect server's, or none: then the other variables are leftovers of an environment further up.
func Attach(ctx context.Context, embedded func(ctx context.Context, state string) (Runs, error), warn func(string)) (p *Party, err error) {
	p = &Party{id: os.Getenv(EnvExecutes), ctx: ctx, stop: func() {}}
	state := os.Getenv(EnvState)
	switch {
	case p.id != "" && state != "" && embedded == nil:
		p.id = ""
		return p, nil
	case p.id != "" && state != "":
		if !filepath.IsAbs(state) {
			return nil, fmt.Errorf("executor: %s: %q is not an absolute path", EnvState, state)
		}
		if p.runs, err = embedded(ctx, state); err != nil {
			return nil, fmt.Errorf("executor: %w", err)
		}
	default:
		p.id = cmp.Or(p.id, os.Getenv(EnvPrefectRun))
		server, err := Discover(warn)
		switch {
		case err != nil && p.id != "":
			return nil, fmt.Errorf("executor: %w", err)
		case err != nil || server.settings.APIURL == "":
			p.id = ""
			return p, nil
		}
		if p.prefect = server; p.id == "" {
			return p, nil
		}
		server.settings.Expected = true // by who launched this process
		api, err := server.Connect()
		if err != nil {
			return nil, fmt.Errorf("executor: %w", err)
		}
		p.runs = api
	}
	if err := p.hold(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// hold takes the executor's lease.
func (p *Party) hold() error {
	length, _ := time.ParseDuration(os.Getenv(EnvLease))
	if length <= 0 && p.prefect != nil {
		length = prefect.LeaseLength
	}
	lease := orchestrator.NewLease("executor", length)
	if err := p.runs.Hold(p.ctx, p.id, lease); err != nil {
		return fmt.Errorf("executor: %w", NotHeld(p.id, err))
	}
	held, stopKeeping := orchestrator.Keep(p.ctx, p.runs, lease)
	p.ctx, p.stop = held, stopKeeping
	return nil
}

// Context ends when somebody else has ended the run.
func (p *Party) Context() context.Context { return p.ctx }

// Server is the Prefect server of the flow run; without one, it cannot be connected to.
func (p *Party) Server() *Server {
	if p.prefect != nil {
		return p.prefect
	}
	return &Server{settings: &prefect.Settings{}}
}

// RunForPrefect runs the bundle of a Prefect server's flow run. Where the environment does not say
// which run it is, the document does.
func (p *Party) RunForPrefect(url, key string, digest bundle.Digest, opts *execute.Options) (int, error) {
	if p.prefect == nil {
		return execute.RunForPrefect(p.ctx, url, key, digest, opts)
	}
	return p.forPrefect(opts, func() (int, error) {
		if p.id != "" {
			run, err := opts.Runs.FlowRun(p.ctx, p.id)
			if err != nil {
				return execute.ExitUnavailable, fmt.Errorf("executor: %w", err)
			}
			if digest.IsZero() && run.Bundle.Digest != "" && run.Bundle.Key == key {
				if digest, err = bundle.ParseDigest(run.Bundle.Digest); err != nil {
					return execute.ExitRefused, fmt.Errorf("executor: flow run %q: %w", p.id, err)
				}
			}
			opts.Results = cmp.Or(opts.Results, run.Results)
		}
		return execute.RunForPrefect(p.ctx, url, key, digest, opts)
	})
}

// forPrefect has do run what there is, with options that make the server's flow run known.
func (p *Party) forPrefect(opts *execute.Options, do func() (int, error)) (int, error) {
	api, err := p.prefect.Connect()
	if err != nil {
		return execute.ExitUnavailable, fmt.Errorf("executor: %w", err)
	}
	watcher := orchestrator.NewWatcher(api, 0)
	defer watcher.Close()
	opts.FlowRunID, opts.Runs, opts.Logs, opts.Watcher = p.id, api, api, watcher
	if os.Getenv(EnvExecutes) != "" {
		opts.Scratch, opts.Grouped = os.Getenv(EnvScratch), grouped()
	}
	return do()
}

// Close gives the lease back, and releases what was opened.
func (p *Party) Close() {
	p.stop()
	switch {
	case p.prefect != nil:
		p.prefect.Close()
	case p.runs != nil:
		p.runs.Close()
	}
}

// NotHeld says what it means that nobody could take a lease on the run: it may not be one to run.
func NotHeld(flowRunID string, err error) error {
	if errors.Is(err, orchestrator.ErrLeaseLost) || errors.Is(err, orchestrator.ErrNotFound) {
		return &bundle.Error{Kind: bundle.KindRefused, Path: flowRunID, Reason: "the flow run is not to be run", Err: err}
	}
	return err
}
