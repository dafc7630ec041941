package execute

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// final reports whether the server knows the run's end; CRASHED may be nothing but another
// observer's guess.
func (e *engine) final(ctx context.Context) bool {
	ctx, cancel := reporting(ctx)
	defer cancel()
	run, err := e.Runs.FlowRun(ctx, e.FlowRunID)
	return err == nil && run.State.Type.Final() && run.State.Type != orchestrator.TypeCrashed
}

// conclude says how the run ended, if its process could not.
func (e *engine) conclude(ctx context.Context, code int, n notes) (int, *time.Time, error) {
	said := e.control.concluded()
	if said == concluded {
		return 0, nil, nil
	}
	switch e.why {
	case leaseLost:
		return 0, nil, nil
	case evicted:
		if e.eviction() == intentReschedule {
			return 0, nil, nil
		}
		return exitFailed, nil, nil // so that the infrastructure runs it again
	case cancelled:
		if said == taken && e.final(ctx) {
			return 0, nil, nil // it had come to its end before the signal
		}
		err := e.endCancelled(ctx, n)
		return told(err), nil, err
	case timedOut:
		end := e.stopped(&program{noun: "flow"}, timedOut, 0, "")
		if due := e.retried(ctx, end); due != nil {
			return 0, due, nil
		}
		code, err := e.tell(ctx, end.State)
		return code, nil, err
	}
	err := e.endByItself(ctx, code, n)
	return told(err), nil, err
}

// endByItself ends a run whose process ended, perhaps without a word.
func (e *engine) endByItself(ctx context.Context, code int, n notes) error {
	if code == 0 && n.Ended {
		ctx, cancel := reporting(ctx)
		defer cancel()
		// An end that it came to while the run was being cancelled does not count.
		run, err := e.Runs.FlowRun(ctx, e.FlowRunID)
		if err == nil && run.State.Type == orchestrator.TypeCancelling {
			err = e.endCancelled(ctx, n)
		}
		return err
	}
	message := fmt.Sprintf("Process exited with status code: %d. %s", code, n.explain(code))
	if code == 0 {
		message = "the flow ended its process before it returned, exit code 0"
	}
	e.warn("%s", message)
	out, err := e.setState(ctx, orchestrator.NewState(orchestrator.TypeCrashed, message), false)
	switch {
	case err != nil:
		return err
	case out.State.Type == orchestrator.TypeCrashed:
		e.hooks(ctx, n.Crashed, out.State)
	case out.State.Type == orchestrator.TypeCancelling:
		return e.endCancelled(ctx, n)
	}
	return nil
}

func (e *engine) endCancelled(ctx context.Context, n notes) error {
	e.hooks(ctx, n.Cancellation, orchestrator.NewState(orchestrator.TypeCancelling, "Flow run was cancelled."))
	_, err := e.setState(ctx, orchestrator.NewState(orchestrator.TypeCancelled, "Flow run was cancelled successfully."), true)
	return err
}

// tell proposes how the run ended.
func (e *engine) tell(ctx context.Context, s orchestrator.State) (int, error) {
	ctx, cancel := reporting(ctx)
	defer cancel()
	r := &Record{ID: e.FlowRunID, State: s}
	err := r.settle(ctx, nil, e.Runs)
	return told(err), err
}

func (e *engine) setState(ctx context.Context, s orchestrator.State, force bool) (*orchestrator.Outcome, error) {
	ctx, cancel := reporting(ctx)
	defer cancel()
	out, err := e.Runs.SetState(ctx, e.FlowRunID, s, &orchestrator.SetStateOptions{Force: force})
	if err != nil {
		return nil, fmt.Errorf("the end of the run could not be told: %w", err)
	}
	return out, nil
}

// told is the exit code of a supervisor.
func told(err error) int {
	if err != nil {
		return ExitUnavailable
	}
	return 0
}

// reporting is the time for saying how a run ended, whatever has ended.
func reporting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), reportTime)
}

// hooks runs the flow's hooks for the state, unless it is known that there are none. Whether they
// went well is theirs to log.
func (e *engine) hooks(ctx context.Context, there *bool, s orchestrator.State) {
	if there != nil && !*there {
		return
	}
	b, err := json.Marshal(map[string]any{
		"id": s.ID, "type": s.Type, "name": s.Name, "message": s.Message, "timestamp": s.Timestamp,
		"state_details": map[string]string{"flow_run_id": e.FlowRunID},
	})
	file := filepath.Join(e.scratch, "state.json")
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	code := 0
	if err == nil {
		code, err = e.attendSupervisor(context.WithoutCancel(ctx), e.command("hooks", file))
	}
	if err != nil || code != 0 {
		e.warn("the flow's hooks could not be run: exit code %d, %v", code, err)
	}
}

// notes are what the engine's process notes about itself.
type notes struct {
	begun        bool
	Explanations map[string]string `json:"explanations"` // of exit codes; "" is for any other one
	Cancellation *bool             `json:"cancellation"` // whether the flow has such hooks; nil: not known
	Crashed      *bool             `json:"crashed"`
	Ended        bool              `json:"ended"` // the engine came to its end, not only the process
}

const maxNotes = 64 << 10

func readNotes(path string) (n notes) {
	f, err := os.Open(path)
	if err != nil {
		return n
	}
	defer f.Close()
	return parseNotes(f)
}

// parseNotes reads as much as there is to be understood.
func parseNotes(r io.Reader) (n notes) {
	lines := bufio.NewScanner(io.LimitReader(r, maxNotes))
	lines.Buffer(nil, maxNotes)
	for lines.Scan() {
		n.begun = true
		if json.Unmarshal(lines.Bytes(), &n) != nil {
			break
		}
	}
	return n
}

// explain is what this Prefect says to an exit code.
func (n *notes) explain(code int) string {
	if text, ok := n.Explanations[strconv.Itoa(code)]; ok {
		return text
	}
	if text, ok := n.Explanations[""]; ok {
		return text
	}
	return "Process exited with an unexpected status code."
}
