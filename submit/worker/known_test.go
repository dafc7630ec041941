package worker_test

import (
	"context"
	"testing"

	"github.com/flowship/flowship/launch"
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
