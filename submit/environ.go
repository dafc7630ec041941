package submit

import (
	"os"
	"path/filepath"

	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/execute/executor"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/worker"
)

// What an executor finds in its environment; processinfra adds to it.
const (
	envHome     = "FLOWSHIP_HOME"
	envExecutes = executor.EnvExecutes
	envLease    = executor.EnvLease
	envState    = executor.EnvState
	// As Prefect's own workers call the flow run.
	envPrefectRun = executor.EnvPrefectRun
)

// environ is what an executor, or who launches it, is told beside its command line.
func (c *Client) environ(flowRunID string, lease orchestrator.Lease) []string {
	env := []string{envExecutes + "=" + flowRunID, envState + "="}
	if !c.onPrefect() {
		env[1] += c.state
	}
	if lease.Length > 0 {
		env = append(env, envLease+"="+lease.Length.String())
	}
	if c.home != "" {
		env = append(env, envHome+"="+c.home)
	}
	// What is relative to the working directory here is somewhere else there.
	if python := os.Getenv(execute.EnvPython); python != "" && python != filepath.Base(python) {
		if abs, err := filepath.Abs(python); err == nil {
			env = append(env, execute.EnvPython+"="+abs)
		}
	}
	return env
}

// settings are what a run's job finds in its environment where the pool and the run leave room
// for it: how it reaches the Prefect server, and what Prefect's own workers say about the run.
// None of this process's other settings are among them.
func (c *Client) settings(job worker.Whose) []string {
	if !c.onPrefect() {
		return nil
	}
	certFile := c.prefect.CertFile
	if job.Elsewhere != nil {
		certFile = job.Elsewhere.CertFile
	}
	run := job.Run
	env := append(c.prefect.Environ(certFile), envPrefectRun+"="+run.ID, "PREFECT__FLOW_ID="+run.FlowID)
	if run.Flow != "" {
		env = append(env, "PREFECT__FLOW_NAME="+run.Flow)
	}
	if run.DeploymentID != "" {
		env = append(env, "PREFECT__DEPLOYMENT_ID="+run.DeploymentID)
	}
	if job.Deployment != nil {
		env = append(env, "PREFECT__DEPLOYMENT_NAME="+job.Deployment.Name)
	}
	if job.Worker != "" {
		env = append(env, "PREFECT__WORKER_NAME="+job.Worker)
	}
	return env
}
