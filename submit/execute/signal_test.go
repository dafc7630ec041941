//go:build linux

package execute_test

import (
	"context"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// Whoever signals the group signals the command as well, unless it has left the group.
func TestSignalsToAGroup(t *testing.T) {
	started.Program(t, "setsid")
	const script = "trap 'exit 5' TERM; trap 'exit 6' INT; echo ready; while :; do sleep 0.01; done"
	s := store(t, nil, command("setsid", "sh", "-c", script), execute.FlowRun{})
	out := &signalling{signals: make(chan os.Signal, 1), signal: syscall.SIGTERM}
	// As long as signals come, and with a long grace: it hears the first one all the same.
	opts := &execute.Options{Dir: s.work, Stdout: out, Stderr: io.Discard, Signals: out.signals, Grouped: true, Grace: time.Hour}
	r, err := execute.Run(t.Context(), s.url, s.key, s.digest, opts)
	if err != nil || r.ExitCode != 5 {
		t.Errorf("%+v, %v", r, err)
	}
}

// signalsWhenRunning sends a signal between the preparation and the start of the command.
type signalsWhenRunning struct {
	*runs
	signals chan os.Signal
}

func (r *signalsWhenRunning) SetState(ctx context.Context, id string, proposed orchestrator.State, opts *orchestrator.SetStateOptions) (*orchestrator.Outcome, error) {
	if proposed.Type == orchestrator.TypeRunning {
		r.signals <- syscall.SIGINT
	}
	return r.runs.SetState(ctx, id, proposed, opts)
}

// A command that was not there yet when the group was signalled has not heard of it.
func TestSignalBeforeTheStart(t *testing.T) {
	s := store(t, nil, command("sleep", "600"), execute.FlowRun{})
	r := &signalsWhenRunning{newRuns(s.id, orchestrator.TypePending), make(chan os.Signal, 1)}
	record, err := execute.Run(t.Context(), s.url, s.key, s.digest, &execute.Options{Dir: s.work, Signals: r.signals, Runs: r, Grouped: true, Grace: time.Hour})
	if err != nil || record.ExitCode != 130 {
		t.Errorf("%+v, %v", record, err)
	}
}
