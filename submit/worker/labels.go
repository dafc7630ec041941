package worker

import (
	"encoding/json"
	"time"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/orchestrator"
)

// labelFlowRun is the label that tells which run a job is of.
const labelFlowRun = "prefect.io/flow-run-id"

// Whose says whose a job is.
type Whose struct {
	Run        *orchestrator.FlowRun
	Deployment *orchestrator.Deployment // of the run, or nil
	Worker     string                   // its name, or ""
	Elsewhere  *Elsewhere               // as [Launcher.Elsewhere] returned it
}

// labels are what platforms show of a job.
func (a *attempt) labels() map[string]string {
	labels := map[string]string{
		labelFlowRun:                a.Run.ID,
		"prefect.io/flow-run-name":  a.Run.Name,
		"prefect.io/flow-id":        a.Run.FlowID,
		"prefect.io/flow-name":      a.Run.Flow,
		"prefect.io/work-pool-id":   a.pool.ID,
		"prefect.io/work-pool-name": a.pool.Name,
	}
	if a.Worker != "" {
		labels["prefect.io/worker-name"] = a.Worker
	}
	if d := a.deployment; d != nil {
		labels["prefect.io/deployment-id"], labels["prefect.io/deployment-name"] = d.ID, d.Name
		if !d.Updated.IsZero() {
			labels["prefect.io/deployment-updated"] = d.Updated.UTC().Format(time.RFC3339Nano)
		}
	}
	return labels
}

// name fills in what the configured name of a job says of its flow and its run.
func (a *attempt) name(configuration map[string]any) {
	template, ok := configuration["name"].(string)
	if !ok {
		return
	}
	var parameters any
	json.Unmarshal(a.Run.Parameters, &parameters) // without them, there are none
	run := map[string]any{
		"id": a.Run.ID, "name": a.Run.Name, "flow_id": a.Run.FlowID, "flow_version": a.Run.Version, "parameters": parameters,
		"tags": elements(a.Run.Tags), "run_count": a.Run.RunCount, "work_pool_name": a.Run.WorkPool, "created": a.Run.Created.UTC().Format(time.RFC3339Nano),
	}
	if a.Run.DeploymentID != "" {
		run["deployment_id"] = a.Run.DeploymentID
	}
	configuration["name"] = launch.Fill(template, map[string]any{"ctx": map[string]any{
		"flow": map[string]any{"id": a.Run.FlowID, "name": a.Run.Flow}, "flow_run": run,
	}})
}

func elements(texts []string) []any {
	all := make([]any, len(texts))
	for i, s := range texts {
		all[i] = s
	}
	return all
}
