package submit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// party is what an executor is to the flow run that its environment names: who reports it.
type party struct {
	id      string  // of the flow run; "" when there is none
	runs    backend // nil without a flow run
	prefect *server // nil for the embedded default
	// ctx ends when somebody else has ended the run.
	ctx  context.Context
	stop func()
}

// attach finds the flow run, and takes a lease on it. It is one of the embedded default's, one of
// a Prefect server's, or none: then the other variables are leftovers of an environment further up.
func attach(ctx context.Context, warn func(string)) (p *party, err error) {
	p = &party{id: os.Getenv(envExecutes), ctx: ctx, stop: func() {}}
	state := os.Getenv(envState)
	switch {
	case p.id != "" && state != "":
		if !filepath.IsAbs(state) {
			return nil, fmt.Errorf("submit: %s: %q is not an absolute path", envState, state)
		}
		runs, err := local.Open(ctx, databasePath(state), nil)
		if err != nil {
			return nil, fmt.Errorf("submit: %w", err)
		}
		p.runs = runs
	default:
		p.id = cmp.Or(p.id, os.Getenv(envPrefectRun))
		server, err := discover(warn)
		switch {
		case err != nil && p.id != "":
			return nil, fmt.Errorf("submit: %w", err)
		case err != nil || server.settings.APIURL == "":
			p.id = ""
			return p, nil
		}
		if p.prefect = server; p.id == "" {
			return p, nil
		}
		api, err := server.connect()
		if err != nil {
			return nil, fmt.Errorf("submit: %w", err)
		}
		p.runs = api
	}
	if err := p.hold(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// hold takes the executor's lease.
func (p *party) hold() error {
	length, _ := time.ParseDuration(os.Getenv(envLease))
	if length <= 0 && p.prefect != nil {
		length = prefect.LeaseLength
	}
	lease := orchestrator.NewLease("executor", length)
	if err := p.runs.Hold(p.ctx, p.id, lease); err != nil {
		return notToBeRun(p.id, err)
	}
	held, stopKeeping := orchestrator.Keep(p.ctx, p.runs, lease)
	p.ctx, p.stop = held, stopKeeping
	return nil
}

// runForPrefect runs the bundle of a Prefect server's flow run. Where the environment does not say
// which run it is, the document does.
func (p *party) runForPrefect(url, key string, digest bundle.Digest, opts *execute.Options) (int, error) {
	if p.prefect == nil {
		return execute.RunForPrefect(p.ctx, url, key, digest, opts)
	}
	api, err := p.prefect.connect()
	if err != nil {
		return execute.ExitUnavailable, fmt.Errorf("submit: %w", err)
	}
	watcher := orchestrator.NewWatcher(api, 0)
	defer watcher.Close()
	opts.FlowRunID, opts.Runs, opts.Logs, opts.Watcher = p.id, api, api, watcher
	if p.id != "" {
		run, err := api.FlowRun(p.ctx, p.id)
		if err != nil {
			return execute.ExitUnavailable, fmt.Errorf("submit: %w", err)
		}
		if digest.IsZero() && run.Bundle.Digest != "" && run.Bundle.Key == key {
			if digest, err = bundle.ParseDigest(run.Bundle.Digest); err != nil {
				return execute.ExitRefused, fmt.Errorf("submit: flow run %q: %w", p.id, err)
			}
		}
		opts.Results = cmp.Or(opts.Results, run.Results)
	}
	if os.Getenv(envExecutes) != "" {
		opts.Scratch, opts.Grouped = os.Getenv(envScratch), grouped()
	}
	return execute.RunForPrefect(p.ctx, url, key, digest, opts)
}

// readBlock reads blocks of the server, if there is one.
func (p *party) readBlock() readBlock {
	if p.prefect != nil {
		return p.prefect.block
	}
	return (&server{settings: &prefect.Settings{}}).block
}

func (p *party) close() {
	p.stop()
	switch {
	case p.prefect != nil:
		p.prefect.close()
	case p.runs != nil:
		p.runs.Close()
	}
}

// notToBeRun: the executor could not take its lease.
func notToBeRun(flowRunID string, err error) error {
	if errors.Is(err, orchestrator.ErrLeaseLost) || errors.Is(err, orchestrator.ErrNotFound) {
		return &bundle.Error{Kind: bundle.KindRefused, Path: flowRunID, Reason: "the flow run is not to be run", Err: err}
	}
	return fmt.Errorf("submit: %w", err)
}
