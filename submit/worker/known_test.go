package worker_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
	"github.com/flowship/flowship/submit/worker"
)

// early is a platform that knows the id of a job before it starts it.
type early struct {
	gate
	noted func() string
	got   string
}

func (e *early) Start(_ context.Context, job *launch.Job) (string, error) {
	job.Known("job")
	e.got = e.noted()
	close(e.open)
	return "job", nil
}

// The id of a job is noted before the job starts: a launcher may be killed at any moment.
func TestJobIsNotedBeforeItStarts(t *testing.T) {
	runs, run, lease := newRun(t)
	job := &early{gate: gate{open: make(chan struct{})}, noted: func() string {
		now, err := runs.FlowRun(t.Context(), run.ID)
		if err != nil {
			t.Fatal(err)
		}
		return now.Infrastructure
	}}
	if _, err := newLauncher(runs, job, 0).Launch(t.Context(), worker.Launch{Run: run, Lease: lease}); err != nil {
		t.Error(err)
	}
	if job.got != "job" {
		t.Errorf("noted before the start: %q", job.got)
	}
}

// deployed is a backend whose runs are of a deployment.
type deployed struct{ *local.Orchestrator }

func (deployed) Deployment(_ context.Context, id string) (*orchestrator.Deployment, error) {
	return &orchestrator.Deployment{
		ID: id, Name: "nightly", Updated: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
		JobVariables: []byte(`{"name": "{{ ctx.flow.name }} of {{ ctx.flow_run.name }}, {{ ctx.flow_run.parameters.n }}{{ ctx.nothing }}"}`),
	}, nil
}

// named is a platform that keeps what it is told of its job.
type named struct {
	gate
	job launch.Job
}

func (n *named) Start(_ context.Context, job *launch.Job) (string, error) {
	n.job = *job
	close(n.open)
	return "job", nil
}

// What a platform shows of a job tells whose it is.
func TestJobSaysWhoseItIs(t *testing.T) {
	runs, run, lease := newRun(t)
	pool, err := runs.WorkPool(t.Context(), "pool")
	if err != nil {
		t.Fatal(err)
	}
	template := []byte(`{"job_configuration": {"command": "{{ command }}", "name": "{{ name }}"}, "variables": {"properties": {"command": {"type": "string"}, "name": {"type": "string"}}}}`)
	if err := runs.ChangeWorkPool(t.Context(), "pool", orchestrator.WorkPoolChange{BaseJobTemplate: template}); err != nil {
		t.Fatal(err)
	}
	of := *run
	of.DeploymentID, of.Parameters = "d", []byte(`{"n": 3}`)
	job := &named{gate: gate{open: make(chan struct{})}}
	if _, err := newLauncher(deployed{runs}, job, 0).Launch(t.Context(), worker.Launch{Run: &of, Lease: lease, Worker: "w"}); err != nil {
		t.Error(err)
	}
	want := map[string]string{
		"prefect.io/flow-run-id": run.ID, "prefect.io/flow-run-name": run.Name, "prefect.io/flow-id": run.FlowID, "prefect.io/flow-name": "f",
		"prefect.io/work-pool-id": pool.ID, "prefect.io/work-pool-name": "pool", "prefect.io/worker-name": "w",
		"prefect.io/deployment-id": "d", "prefect.io/deployment-name": "nightly", "prefect.io/deployment-updated": "2026-01-02T03:04:05.000006Z",
	}
	if diff := cmp.Diff(want, job.job.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("f of "+run.Name+", 3", job.job.Configuration["name"]); diff != "" {
		t.Errorf("name (-want +got):\n%s", diff)
	}
}
