package submit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/launch/processinfra"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
)

// workPool is the work pool of the embedded default.
const workPool = "local"

// Run packs the files, has the command or the flow run and waits for it: a direct call.
//
// A run that ended has a state that says how, and the error is nil, also when it failed,
// crashed or took too long. When ctx ends, the run is cancelled: it gets SIGINT, then SIGTERM,
// then SIGKILL, and ends CANCELLED. An error means that there is no such run, or that its end
// is not known.
func (c *Client) Run(ctx context.Context, inv Invocation) (*Run, error) {
	if err := inv.check(); err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	if len(c.executor) == 0 {
		return nil, errors.New("submit: no executor")
	}
	s := &submission{Client: c, Invocation: inv, watch: stopwatch{time.Now()}}
	if err := s.store(ctx); err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	if err := s.create(ctx); err != nil {
		return nil, err
	}
	return s.launch(ctx)
}

// submission is one call of Run on its way.
type submission struct {
	*Client
	Invocation
	watch  stopwatch
	runs   *local.Orchestrator
	bucket *storage.Store
	flow   string
	lease  orchestrator.Lease
	run    Run
}

// progress announces a step.
func (s *submission) progress(step string, total int64) (add func(int64), done func()) {
	if s.Progress == nil {
		return nil, func() {}
	}
	return s.Progress(step, total)
}

// store packs the files and stores them and the document.
func (s *submission) store(ctx context.Context) (err error) {
	dir := s.Dir
	if dir == "" {
		dir = "."
	}
	opts := &bundle.CollectOptions{}
	if !s.NoSource {
		opts.Entrypoint = s.Entrypoint
	}
	collection, err := bundle.Collect(ctx, dir, s.Include, opts)
	if err != nil {
		return err
	}
	if s.Collected != nil {
		s.Collected(collection)
	}
	s.run.Timings.Collect = s.watch.lap()
	manifest, err := s.hash(ctx, collection)
	if err != nil {
		return err
	}
	s.run.Timings.Hash = s.watch.lap()

	if s.bucket, err = s.openStore(ctx); err != nil {
		return err
	}
	// The document names the run and its flow. The flow may be known before there is a run;
	// the run is not created before its bundle is stored.
	if s.runs, err = s.currentRuns(ctx); err != nil {
		return err
	}
	inv, err := s.describe(ctx, collection)
	if err != nil {
		return err
	}
	s.run.Timings.Create = s.watch.lap()
	u := &upload{submission: s, collection: collection, manifest: manifest}
	if err := u.send(ctx, inv); err != nil {
		return err
	}
	s.run.Timings.Upload = s.watch.lap()
	return nil
}

// hash returns the manifest of the files, or nil when no files travel.
func (s *submission) hash(ctx context.Context, c *bundle.Collection) (*bundle.Manifest, error) {
	if len(c.Files) == 0 {
		return nil, nil
	}
	add, done := s.progress("hash", c.TotalSize())
	defer done()
	opts := &bundle.HashOptions{Progress: add}
	if !s.NoCache {
		opts.Cache = s.cache
	}
	return bundle.Hash(ctx, c, opts)
}

// describe is what the document says about the run.
func (s *submission) describe(ctx context.Context, c *bundle.Collection) (bundle.Invocation, error) {
	parameters := s.Parameters
	if parameters == nil {
		parameters = json.RawMessage("{}")
	}
	s.flow = s.flowName()
	flowID, err := s.runs.EnsureFlow(ctx, s.flow)
	if err != nil {
		return bundle.Invocation{}, fmt.Errorf("submit: %w", err)
	}
	s.run.ID, s.run.Name, s.run.WorkPool, s.run.Parameters = uuid.NewString(), s.Name, workPool, parameters
	if s.run.Name == "" {
		s.run.Name = orchestrator.RandomName()
	}
	tags := s.Tags
	if tags == nil {
		tags = []string{}
	}
	member := execute.FlowRun{ID: s.run.ID, FlowID: flowID, Name: s.run.Name, Parameters: parameters, Tags: tags, Timeout: s.Timeout.Seconds()}
	flowRun, err := member.Encode()
	if err != nil {
		return bundle.Invocation{}, fmt.Errorf("submit: %w", err)
	}
	return bundle.Invocation{
		Runtime: s.Runtime, Command: s.Command, Entrypoint: s.Entrypoint, FlowRun: flowRun, Include: c.Include, Source: s.Entrypoint != "" && !s.NoSource,
	}, nil
}

// create records the flow run.
func (s *submission) create(ctx context.Context) error {
	b := &s.run.Bundle
	s.lease = orchestrator.NewLease("submitter", s.length)
	note, err := s.recollection()
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	n := orchestrator.NewFlowRun{
		ID: s.run.ID, Flow: s.flow, Name: s.run.Name, WorkPool: workPool, Parameters: s.run.Parameters, Tags: s.Tags,
		Bundle:     orchestrator.Bundle{URL: b.URL, Key: b.Key, Digest: b.digest.String()},
		Submission: note, State: orchestrator.NewState(orchestrator.TypePending, ""), Lease: &s.lease,
	}
	if b.FilesKey != nil {
		n.Bundle.FilesKey = *b.FilesKey
	}
	// Not to be interrupted: whether there is a run must be known.
	if _, err := s.runs.CreateFlowRun(context.WithoutCancel(ctx), n); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	s.run.Timings.Create += s.watch.lap()
	return nil
}

// recollection is what is remembered of the submission.
func (s *submission) recollection() (json.RawMessage, error) {
	return json.Marshal(submissionNote{UploadedBytes: s.run.Bundle.UploadedBytes, ReusedBytes: s.run.Bundle.ReusedBytes, Timings: s.run.Timings})
}

// environ is what the executor is told beside its command line.
func (s *submission) environ() []string {
	env := []string{envExecutes + "=" + s.run.ID, envState + "=" + s.state, envLease + "=" + s.lease.Length.String()}
	if s.home != "" {
		env = append(env, envHome+"="+s.home)
	}
	// What is relative to the working directory here is somewhere else there.
	if python := os.Getenv(execute.EnvPython); python != "" && python != filepath.Base(python) {
		if abs, err := filepath.Abs(python); err == nil {
			env = append(env, execute.EnvPython+"="+abs)
		}
	}
	return env
}

// What an executor finds in its environment; processinfra adds to it.
const (
	envHome     = "FLOWSHIP_HOME"
	envExecutes = "FLOWSHIP_EXECUTES" // the id of the flow run that it is there for
	envLease    = "FLOWSHIP_LEASE"    // how long its lease on it shall be
	envState    = "FLOWSHIP_STATE"    // the state directory of the flow run
	envScratch  = processinfra.EnvScratch
	envStop     = processinfra.EnvStop
)
