//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestInterrupt sends signals to a flowship that certainly runs, because it has opened the pipe
// that it shall read its parameters from.
func TestInterrupt(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
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

// TestInterruptTwice interrupts a command that pays no attention: it is told so, and a second
// Ctrl-C kills it at once.
func TestInterruptTwice(t *testing.T) {
	t.Setenv("FLOWSHIP_HOME", t.TempDir())
	pipe := newPipe(t)
	script := `trap '' INT TERM; echo >"$0"; while :; do sleep 0.01; done`
	cmd := exec.CommandContext(t.Context(), "flowship", "run", "--", "sh", "-c", script, pipe)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(pipe); err != nil { // waits for the command
		t.Fatal(err)
	}
	started := time.Now()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stderr).ReadString('\n')
	if want := "cancelling, Ctrl-C again kills the command\n"; line != want {
		t.Errorf("stderr is %q (%v), want %q", line, err, want)
	}
	interrupt(t, cmd, syscall.SIGINT)
	if took := time.Since(started); took > 19*time.Second { // SIGKILL would come by itself after 20
		t.Errorf("it took %v", took)
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

// A worker that is interrupted waits for its runs; at a second signal it ends them.
func TestInterruptWorker(t *testing.T) {
	for _, test := range []struct {
		name    string
		signals int
		want    string
	}{
		{"once", 1, "COMPLETED"},
		{"twice", 2, "CRASHED"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("FLOWSHIP_HOME", t.TempDir())
			started, goOn := newPipe(t), newPipe(t)
			flowship(t, "submit-to-work-pool", "--name", "held", "--", "sh", "-c", `echo >"$0"; read line <"$1"`, started, goOn)
			cmd := exec.CommandContext(t.Context(), "flowship", "worker", "start", "--pool", "local")
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.ReadFile(started); err != nil { // waits for the command
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stderr)
			for lines.Scan() && !bytes.Contains(lines.Bytes(), []byte("worker stops when its runs have ended")) {
			}
			if test.signals > 1 {
				err = cmd.Process.Signal(syscall.SIGTERM)
			} else {
				err = os.WriteFile(goOn, []byte("\n"), 0) // waits for the reader
			}
			if err != nil {
				t.Fatal(err)
			}
			for lines.Scan() {
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("the worker ended with %v", err)
			}
			var run struct {
				State struct{ Type, Message string }
			}
			if err := json.Unmarshal(flowship(t, "flow-run", "inspect", "held", "-o", "json"), &run); err != nil || run.State.Type != test.want {
				t.Errorf("run ended %v (%v), want %s", run.State, err, test.want)
			}
		})
	}
}

// flowship runs a command line that must succeed, and returns what it printed.
func flowship(t *testing.T, args ...string) []byte {
	cmd, stdout, stderr := startFlowship(t, args...)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("flowship %v: %v\n%s", args, err, stderr)
	}
	return stdout.Bytes()
}
