package worker

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// introduce tells in the run itself who launches it. Nothing depends on it.
func (w *Worker) introduce(ctx context.Context, run *orchestrator.FlowRun) {
	if labeler, ok := w.runs.(orchestrator.Labeler); ok {
		labels := map[string]string{"prefect.worker.name": w.Name, "prefect.worker.type": "flowship", "prefect.work-pool.name": w.WorkPool}
		if err := labeler.Label(ctx, run.ID, labels); err != nil {
			w.log.Warn("could not label a run", "flow_run", run.ID, "error", err)
		}
	}
	line := orchestrator.Log{
		FlowRunID: run.ID, Name: orchestrator.LogWorker, Level: orchestrator.LogLevel(slog.LevelInfo), Timestamp: time.Now().UTC(),
		Message: fmt.Sprintf("Worker '%s' submitting flow run '%s'", w.Name, run.ID),
	}
	if err := w.runs.WriteLogs(ctx, []orchestrator.Log{line}); err != nil {
		w.log.Warn("could not write to a run's log", "flow_run", run.ID, "error", err)
	}
}

// launch sees one run to its end.
func (w *Worker) launch(ctx context.Context, run *orchestrator.FlowRun, lease orchestrator.Lease) {
	defer w.free(run.ID)
	log := w.log.With("flow_run", run.ID, "name", run.Name)
	log.Info("submitting flow run")
	w.introduce(ctx, run)
	if out, err := w.runs.SetState(ctx, run.ID, orchestrator.NewNamedState(orchestrator.TypePending, orchestrator.NameSubmitting, ""), nil); err == nil && out.Status != orchestrator.Accepted {
		log.Info("flow run is not to be run", "reason", out.Reason)
	}
	stdout, leaveOut := w.out.join()
	defer leaveOut()
	stderr, leaveErr := w.err.join()
	defer leaveErr()
	end, err := w.launcher.Launch(ctx, Launch{Run: run, Lease: lease, Worker: w.Name, Stdout: stdout, Stderr: stderr})
	tell(log, end, err)
}

// free makes room for another run.
func (w *Worker) free(id string) {
	w.drop(id)
	select {
	case w.freed <- struct{}{}:
	default:
	}
}

// drop forgets a run that was under way.
func (w *Worker) drop(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.taken, id)
}

// tell logs how a run ended.
func tell(log *slog.Logger, end *End, err error) {
	if end != nil {
		for _, warning := range end.Warnings {
			log.Warn("flow run", "error", warning)
		}
	}
	switch {
	case end != nil && end.State.Type == orchestrator.TypeCrashed: // the message says what err does
		log.Error("flow run crashed", "message", end.State.Message)
	case err != nil:
		log.Error("flow run could not be seen to its end", "error", err)
	default:
		log.Info("flow run ended", "state", end.State.Name, "exit_code", end.ExitCode)
	}
}
