package submit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// mode is one of the three ways in.
type mode string

const (
	modeRun    mode = "run"
	modeSubmit mode = "submit"
	modeQueue  mode = "submit-to-work-pool"
)

// submission is an invocation on its way to becoming a flow run.
type submission struct {
	*Client
	Invocation
	mode      mode
	watch     stopwatch
	runs      backend
	bucket    *bucket
	pool      *orchestrator.WorkPool
	variables map[string]any // job variables as they are kept
	tokens    []string       // of an execution launcher
	step      *launch.Step   // that executes the bundle where a Prefect server's workers are; or nil
	key       string         // of the document
	program   *bundle.Program
	flow      string
	flowID    string
	lease     orchestrator.Lease
	undraft   func() // ends the renewing of the lease
	created   *orchestrator.FlowRun
	run       Run
}

// progress announces a step.
func (s *submission) progress(step string, total int64) (add func(int64), done func()) {
	if s.Progress == nil {
		return nil, func() {}
	}
	return s.Progress(step, total)
}

// submit stores the bundle and then creates the flow run, so that a failure leaves no run behind.
// A backend that gives runs their ids has to create it before the document is stored, which names
// it: then a failure ends the run, with the reason.
func (s *submission) submit(ctx context.Context) (err error) {
	if err := s.check(); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if err := s.place(ctx); err != nil {
		return err
	}
	defer func() {
		if err != nil && s.created != nil {
			err = s.endDrafted(ctx, err)
		}
	}()
	defer func() { s.undraft() }()
	if err := s.store(ctx); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if s.created != nil {
		return s.release(ctx)
	}
	return s.create(ctx)
}

// place finds the work pool, and refuses job variables that its template does not know.
func (s *submission) place(ctx context.Context) (err error) {
	if s.runs, err = s.openRuns(ctx); err != nil {
		return err
	}
	if s.pool, err = s.workPool(ctx, s.Invocation.WorkPool); err != nil {
		return err
	}
	if err := s.fillTemplate(ctx, s.runs, s.pool); err != nil {
		return err
	}
	if s.mode != modeQueue { // a worker knows for itself what it can launch
		if _, err := s.infrastructure(s.pool.Type); err != nil {
			return fmt.Errorf("submit: work pool %q: %w", s.pool.Name, err)
		}
	}
	if s.Type != "" && s.Type != s.pool.Type {
		settings := launch.Settings{Type: s.Type, Config: forTemplate(nil, s.JobVariables)}
		if err := cmp.Or(settings.Fits(s.pool.Type), settings.Check()); err != nil {
			return fmt.Errorf("submit: work pool %q: %w", s.pool.Name, &InvalidError{err.Error()})
		}
	}
	s.variables = map[string]any{}
	for name, value := range s.JobVariables {
		s.variables[name] = value
	}
	if _, ok := s.variables["command"]; ok {
		delete(s.variables, "command")
		s.warn(fmt.Errorf("submit: the job variable %q is not used: flowship sets it; an execution launcher can stand in place of its program", "command"))
	}
	if l := s.Launcher; l != nil && len(l.Upload) > 0 && !slices.Equal(l.Upload, l.Execution) {
		s.warn(errors.New("submit: the upload launcher is not used: this process stores the bundle itself"))
	}
	template, err := launch.ParseTemplate(s.pool.BaseJobTemplate)
	if err != nil {
		return fmt.Errorf("submit: work pool %q: %w", s.pool.Name, err)
	}
	if err := template.Check(forTemplate(template, s.variables)); err != nil {
		return fmt.Errorf("submit: work pool %q: %w", s.pool.Name, err)
	}
	if err := s.chooseLauncher(); err != nil {
		return fmt.Errorf("submit: work pool %q: %w", s.pool.Name, err)
	}
	if (len(s.tokens) > 0 || s.step != nil) && !template.Declares("command") {
		return fmt.Errorf("submit: work pool %q: %w", s.pool.Name, &InvalidError{`a launcher has no effect: the base job template has no variable "command"`})
	}
	if err := s.build(ctx, template); err != nil {
		return err
	}
	if s.bucket, err = s.openBucket(ctx, s.pool); err != nil {
		return err
	}
	if s.pool.Type == kubernetesType && strings.HasPrefix(s.bucket.URL(), "file:") {
		return fmt.Errorf("submit: work pool %q: %w", s.pool.Name, errPodsSeeNoFolder)
	}
	if err := s.signable(ctx); err != nil {
		return fmt.Errorf("submit: work pool %q: %w", s.pool.Name, bare(err))
	}
	if s.Results == "" {
		return nil
	}
	_, err = s.openStore(ctx, s.Results) // a folder is made, for the executor makes none
	return err
}

// warn notes what leaves no doubt about the run.
func (s *submission) warn(err error) {
	if err != nil {
		s.run.Warnings = append(s.run.Warnings, err)
	}
}

// store packs the files and stores them and the document.
func (s *submission) store(ctx context.Context) error {
	dir := s.Dir
	if dir == "" {
		dir = "."
	}
	opts := &bundle.CollectOptions{}
	if s.Runtime == bundle.RuntimePython && !s.NoSource {
		opts.Entrypoint = s.Entrypoint
	}
	s.run.Timings.Create = s.watch.lap()
	collection, err := bundle.Collect(ctx, dir, s.Include, opts)
	if err != nil {
		return err
	}
	if s.Collected != nil {
		s.Collected(collection)
	}
	if err := s.checkParameters(ctx); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	s.run.Timings.Collect = s.watch.lap()
	manifest, err := s.hash(ctx, collection)
	if err != nil {
		return err
	}
	s.run.Timings.Hash = s.watch.lap()
	u := &upload{submission: s, collection: collection, manifest: manifest}
	if err := u.send(ctx); err != nil {
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
	flowID, err := s.identify(ctx, parameters)
	if err != nil {
		return bundle.Invocation{}, fmt.Errorf("submit: %w", err)
	}
	options, err := s.flowOptions(ctx)
	if err != nil {
		return bundle.Invocation{}, fmt.Errorf("submit: %w", err)
	}
	tags := s.Tags
	if tags == nil {
		tags = []string{}
	}
	member := execute.FlowRun{ID: s.run.ID, FlowID: flowID, Name: s.run.Name, Parameters: parameters, Tags: tags, Timeout: s.Timeout.Seconds()}
	if _, ok := options["timeout_seconds"]; ok {
		member.Timeout = 0 // Prefect's engine counts from when it begins
	}
	flowRun, err := member.Encode()
	if err != nil {
		return bundle.Invocation{}, fmt.Errorf("submit: %w", err)
	}
	return bundle.Invocation{
		Runtime: s.Runtime, Command: s.Command, Entrypoint: s.Entrypoint, Program: s.program, FlowRun: flowRun, Include: c.Include, FlowOptions: options,
		Source: s.Runtime == bundle.RuntimePython && !s.NoSource,
	}, nil
}

// identify chooses the run's id and name, or has a backend that gives runs their ids create it.
func (s *submission) identify(ctx context.Context, parameters json.RawMessage) (flowID string, err error) {
	s.flow = s.flowName()
	if s.run.ID != "" { // the bundle is stored once more
		return s.flowID, nil
	}
	s.run.Name, s.run.WorkPool, s.run.Parameters = s.Name, s.pool.Name, parameters
	if s.run.Name == "" {
		s.run.Name = orchestrator.RandomName()
	}
	if _, ok := s.runs.(orchestrator.Assigner); ok {
		if err := s.draft(ctx); err != nil {
			return "", err
		}
		s.flowID = s.created.FlowID
		return s.flowID, nil
	}
	if s.flowID, err = s.runs.EnsureFlow(ctx, s.flow); err != nil {
		return "", err
	}
	s.run.ID = uuid.NewString()
	return s.flowID, nil
}

// create records the flow run.
func (s *submission) create(ctx context.Context) error {
	n, err := s.newFlowRun()
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	// Not to be interrupted: whether there is a run must be known.
	if s.created, err = s.runs.CreateFlowRun(context.WithoutCancel(ctx), *n); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	s.run.copyRecorded(s.created)
	s.run.Timings.Create += s.watch.lap()
	return nil
}

func (s *submission) newFlowRun() (*orchestrator.NewFlowRun, error) {
	note, err := s.remembered()
	if err != nil {
		return nil, err
	}
	n := &orchestrator.NewFlowRun{
		ID: s.run.ID, Flow: s.flow, Name: s.run.Name, WorkPool: s.pool.Name, Parameters: s.run.Parameters, Tags: s.Tags,
		Version: s.Version, Labels: s.Labels, Priority: s.Priority, Results: s.Results,
		Policy:     orchestrator.Policy{Retries: s.Retries, RetryDelay: s.RetryDelay},
		Bundle:     s.stored(),
		Submission: note,
		Parent:     os.Getenv(envPrefectRun),
	}
	if _, drafted := s.runs.(orchestrator.Assigner); s.mode == modeQueue && !drafted {
		n.State = orchestrator.NewState(orchestrator.TypeScheduled, "")
	} else {
		s.lease = orchestrator.NewLease("submitter", s.length)
		n.State, n.Lease = orchestrator.NewState(orchestrator.TypePending, ""), &s.lease
	}
	switch {
	case s.step != nil:
		command, err := s.step.Command(s.key, nil)
		if err != nil {
			return nil, &InvalidError{err.Error()}
		}
		s.variables["command"] = launch.Join(command)
	case len(s.tokens) > 0:
		s.variables["command"] = launch.Join(executorCommand(s.tokens, n))
	}
	if n.JobVariables, err = json.Marshal(s.variables); err != nil {
		return nil, &InvalidError{"the job variables are not JSON: " + err.Error()}
	}
	return n, nil
}

// remembered is what is to be remembered of the submission.
func (s *submission) remembered() (json.RawMessage, error) {
	b := &s.run.Bundle
	n := submissionNote{Mode: s.mode, Runtime: s.Runtime, UploadedBytes: b.UploadedBytes, ReusedBytes: b.ReusedBytes, Timings: s.run.Timings}
	if s.program != nil {
		n.Program = s.program.Key
	}
	if access, _ := accessOf(s.variables); access == AccessSigned {
		n.Signed = Seconds(s.signedFor())
	}
	return json.Marshal(n)
}

// stored says where the bundle is. Of one that is not stored yet, the digest is missing.
func (s *submission) stored() orchestrator.Bundle {
	b := orchestrator.Bundle{URL: s.bucket.URL(), Key: s.key}
	if digest := s.run.Bundle.digest; !digest.IsZero() {
		b.Digest = digest.String()
	}
	if key := s.run.Bundle.FilesKey; key != nil {
		b.FilesKey = *key
	}
	return b
}

// submissionNote is what is remembered of a submission.
type submissionNote struct {
	Mode          mode           `json:"mode"`
	Runtime       bundle.Runtime `json:"runtime,omitempty"`
	Program       string         `json:"program,omitempty"` // key of a Go flow's program
	Signed        Seconds        `json:"signed,omitempty"`  // how long signed URLs last
	UploadedBytes int64          `json:"uploaded_bytes"`
	ReusedBytes   int64          `json:"reused_bytes"`
	Timings       Timings        `json:"timings"`
}
