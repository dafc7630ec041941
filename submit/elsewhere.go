package submit

import (
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/processinfra"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/execute/executor"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/worker"
)

// Where jobs that do not see this machine's files find what is put into them.
const (
	jobProgram      = "/flowship/bin/flowship"
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
	e.Env = []string{executor.EnvWatched + "=1"}
	if c.onPrefect() { // only there the executor has somebody to report to
		e.Env = []string{envExecutes + "=" + run.ID, envLease + "=" + c.length.String()}
	}
	there := *run
	inFolder := strings.HasPrefix(run.Bundle.URL, "file:")
	switch {
	case poolType != kubernetesType:
		c.furnish(e, run)
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
func (c *Client) furnish(e *worker.Elsewhere, run *orchestrator.FlowRun) {
	e.Program = jobProgram
	e.Executor = func(ctx context.Context, infra *launch.Infrastructure, configuration map[string]any) (launch.File, error) {
		variables, err := variablesOf(run)
		if err != nil {
			return launch.File{}, err
		}
		platform, err := platformOf(ctx, infra, variables, configuration)
		if err != nil {
			return launch.File{}, err
		}
		program, err := c.jobProgram(platform, needsWhole(run, variables, configuration))
		return launch.File{Path: jobProgram, Source: program, Mode: 0o755, Shared: true}, err
	}
	if c.onPrefect() && c.prefect.CertFile != "" && strings.HasPrefix(c.prefect.APIURL, "https:") {
		e.CertFile = jobCertificates
		e.Files = append(e.Files, launch.File{Path: jobCertificates, Source: c.prefect.CertFile, Mode: 0o644})
	}
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

// needsWhole reports whether the small executor is not enough for a job: one that opens an object
// store with credentials of its own, or does the work of one of Prefect's modules.
func needsWhole(run *orchestrator.FlowRun, variables, configuration map[string]any) bool {
	line, _ := configuration["command"].(string)
	if words, err := launch.Split(line); err == nil {
		if i := slices.Index(words, "-m"); i >= 0 && i+1 < len(words) && modules()[words[i+1]] != nil {
			return true
		}
	}
	access, _ := accessOf(variables)
	return run.Bundle.Key != "" && access == AccessAmbient && !strings.HasPrefix(run.Bundle.URL, "file:")
}

// jobProgram is the executor that goes into jobs: a program beside this one, or in PATH, that is
// named for them or, where this one can run there, this one. The small executor is the first
// choice, unless the whole program is needed.
func (c *Client) jobProgram(platform launch.Platform, whole bool) (string, error) {
	if len(c.executor) == 0 {
		return "", errNoExecutor
	}
	on := platform.OS + "-" + platform.Arch
	names, source := []string{"flowship-executor-" + on, "flowship-" + on}, "./cmd/flowship-executor"
	if whole {
		names, source = names[1:], "./cmd/flowship"
	}
	for _, name := range names {
		path := filepath.Join(filepath.Dir(c.executor[0]), name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if path, err := exec.LookPath(name); err == nil { // a program with flows has nothing beside it
			return filepath.Abs(path)
		}
	}
	if platform != launch.Host() || runtime.GOOS != "linux" || !static(c.executor[0]) {
		return "", fmt.Errorf("nothing here can be put into jobs on %s as their executor: build %s of flowship with CGO_ENABLED=0 GOOS=%s GOARCH=%s, and put it beside this program, or into PATH, as %s",
			platform, source, platform.OS, platform.Arch, names[0])
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
// object store by URLs that are signed for it, unless the invocation says something else. Where the
// step of a Prefect server's pool calls flowship, that is for workers of flowship's: others run the
// step as it is. It reports whether it was its choice.
func (s *submission) signedElsewhere() bool {
	_, given := s.variables[worker.StorageAccess]
	if given || s.pool.Type == processinfra.Type || strings.HasPrefix(s.bucket.URL(), "file:") {
		return false
	}
	if s.step != nil && (len(s.step.Launcher) == 0 || s.step.Launcher[0] != "flowship") {
		return false
	}
	s.variables[worker.StorageAccess] = AccessSigned
	return true
}
