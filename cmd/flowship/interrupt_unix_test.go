//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestInterrupt sends signals to a flowship that certainly runs, because it has opened the pipe
// that it shall read its parameters from.
func TestInterrupt(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			pipe := newPipe(t)
			cmd, _, stderr := startFlowship(t, "bundle", "build", "--dry-run", "--params", pipe)
			w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits for the reader
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			interrupt(t, cmd, signal)
			if got, want := stderr.String(), "error: interrupted\n"; got != want {
				t.Errorf("stderr is %q, want %q", got, want)
			}
		})
	}
}

// TestInterruptRun interrupts a command that has said that it runs. It gets the signal, the run
// ends CANCELLED, and nothing stays behind.
func TestInterruptRun(t *testing.T) {
	home := t.TempDir()
	t.Setenv("FLOWSHIP_HOME", home)
	pipe := newPipe(t)
	cmd, stdout, stderr := startFlowship(t, "run", "-o", "json", "--", "sh", "-c", `trap 'echo caught; exit 0' INT; echo >"$0"; while :; do sleep 0.01; done`, pipe)
	if _, err := os.ReadFile(pipe); err != nil { // waits for the command
		t.Fatal(err)
	}
	interrupt(t, cmd, syscall.SIGINT)
	var run struct{ State struct{ Type string } }
	if err := json.Unmarshal(stdout.Bytes(), &run); err != nil || run.State.Type != "CANCELLED" {
		t.Errorf("run ended %q (%v), want CANCELLED; stdout:\n%s", run.State.Type, err, stdout)
	}
	if got, want := stderr.String(), "caught\n"; got != want {
		t.Errorf("stderr is %q, want %q", got, want)
	}
	left, err := os.ReadDir(filepath.Join(home, "run"))
	if err != nil || len(left) > 0 {
		t.Errorf("working directories left: %v %v", left, err)
	}
}

func newPipe(t *testing.T) string {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	return pipe
}

func startFlowship(t *testing.T, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	cmd = exec.CommandContext(t.Context(), "flowship", args...)
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, stdout, stderr
}

// interrupt sends the signal and waits for the exit code that says so.
func interrupt(t *testing.T, cmd *exec.Cmd, signal syscall.Signal) {
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitInterrupted {
		t.Errorf("ended with %v, want exit code %d", err, exitInterrupted)
	}
}
