package submit

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/processinfra"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/worker"
)

// Where jobs that do not see this machine's files find what is put into them.
const (
	jobProgram      = "/flowship/flowship"
	jobStore        = "/flowship/store"
	jobCertificates = "/flowship/certificates.pem"
	imageProgram    = "/usr/local/bin/flowship" // in images that flowship has built
)

// elsewhere says what the run's job needs that does not see this machine's files; nil for one that
// does. Where files can be put into a job, so is its executor, and a bundle that is in a folder; the
// record comes back the same way. On Kubernetes the executor is the image's, and bundles are in an
// object store.
func (c *Client) elsewhere(run *orchestrator.FlowRun, poolType string) (*worker.Elsewhere, error) {
	if poolType == processinfra.Type {
		return nil, nil
	}
	e := &worker.Elsewhere{Program: imageProgram, Reports: c.onPrefect(), Secrets: []string{execute.EnvSigned, "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_CLIENT_CUSTOM_HEADERS"}}
	if c.onPrefect() { // only there the executor has somebody to report to
		e.Env = []string{envExecutes + "=" + run.ID, envLease + "=" + c.length.String()}
	}
	there := *run
	inFolder := strings.HasPrefix(run.Bundle.URL, "file:")
	switch {
	case poolType != kubernetesType:
		if err := c.furnish(e); err != nil {
			return nil, err
		}
		if inFolder {
			if err := carry(e, &there); err != nil {
				return nil, err
			}
		}
	case inFolder:
		return nil, errPodsSeeNoFolder
	}
	if run.Bundle.Key != "" {
		e.Command = worker.Command([]string{e.Program, "step"}, &there)
	}
	return e, nil
}

// furnish puts the executor into the job, and what it needs to trust the server.
func (c *Client) furnish(e *worker.Elsewhere) error {
	program, err := c.jobProgram()
	if err != nil {
		return err
	}
	e.Program, e.Files = jobProgram, []launch.File{{Path: jobProgram, Source: program, Mode: 0o755}}
	if c.onPrefect() && c.prefect.CertFile != "" && strings.HasPrefix(c.prefect.APIURL, "https:") {
		e.CertFile = jobCertificates
		e.Files = append(e.Files, launch.File{Path: jobCertificates, Source: c.prefect.CertFile, Mode: 0o644})
	}
	return nil
}

var errPodsSeeNoFolder = fmt.Errorf("%w: they would be in a folder of this machine, which pods do not see", ErrNoStorage)

// kubernetesType is Prefect's name for pools whose jobs take no files.
const kubernetesType = "kubernetes"

// carry has the bundle travel with the job.
func carry(e *worker.Elsewhere, run *orchestrator.FlowRun) error {
	dir, err := storage.FolderPath(run.Bundle.URL)
	if err != nil {
		return err
	}
	var note submissionNote
	if err := json.Unmarshal(run.Submission, &note); err != nil {
		return fmt.Errorf("what is remembered of the submission: %w", err)
	}
	for _, key := range []string{run.Bundle.Key, run.Bundle.FilesKey, note.Program} {
		if key != "" {
			e.Files = append(e.Files, launch.File{Path: path.Join(jobStore, key), Source: filepath.Join(dir, filepath.FromSlash(key)), Mode: 0o644})
		}
	}
	results := dir
	if run.Results != "" {
		if results, err = storage.FolderPath(run.Results); err != nil {
			return fmt.Errorf("a bundle in a folder has its result in one: %w", err)
		}
	}
	record := execute.RecordKey(run.ID)
	here := filepath.Join(results, filepath.FromSlash(record))
	if err := os.MkdirAll(filepath.Dir(here), 0o700); err != nil {
		return err
	}
	e.Take = append(e.Take, launch.File{Path: path.Join(jobStore, record), Source: here, Mode: 0o600})
	run.Bundle.URL, run.Results = "file://"+jobStore, ""
	return nil
}

// jobProgram is the executor that goes into jobs: a program beside this one that is named for them
// or, where this one can run there, this one. The small executor is enough for runs of the embedded
// default: it neither reads blocks nor talks to a server.
func (c *Client) jobProgram() (string, error) {
	if len(c.executor) == 0 {
		return "", errNoExecutor
	}
	names := []string{"flowship-linux-" + runtime.GOARCH}
	if !c.onPrefect() {
		names = []string{"flowship-executor-linux-" + runtime.GOARCH, names[0]}
	}
	for _, name := range names {
		path := filepath.Join(filepath.Dir(c.executor[0]), name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	if runtime.GOOS != "linux" || !static(c.executor[0]) {
		return "", fmt.Errorf("nothing here can be put into jobs as their executor: build flowship with GOOS=linux CGO_ENABLED=0, and put it beside this program as %s", names[0])
	}
	return c.executor[0], nil
}

// static reports whether a program for Linux needs nothing else where it runs.
func static(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Section(".interp") == nil
}

// signedElsewhere has a job that does not see this machine's files, nor its credentials, get at an
// object store by URLs that are signed for it, unless the invocation says something else.
func (s *submission) signedElsewhere() {
	if _, given := s.variables[worker.StorageAccess]; given || s.pool.Type == processinfra.Type || s.step != nil || strings.HasPrefix(s.bucket.URL(), "file:") {
		return
	}
	s.variables[worker.StorageAccess] = AccessSigned
}
