//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// harbour is a home of the embedded backend with a work pool of containers, whose programs are
// killed. The jobs of its runs go on until the test lets them.
type harbour struct {
	*testing.T
	dir, program string
	env          []string
	variables    []string
	gate         string // a command of the shell that succeeds when jobs are let go
}

func newHarbour(t *testing.T) *harbour {
	t.Helper()
	engine := docker(t)
	h := &harbour{T: t, dir: t.TempDir(), gate: "test -e /go", variables: []string{"-v", "image=flowship-test:busybox", "-v", "image_pull_policy=Never", "-v", "auto_remove=true"}}
	h.program = filepath.Join(with(t)(delivered.programs()), "flowship")
	h.env = append(os.Environ(), "FLOWSHIP_HOME="+filepath.Join(h.dir, "home"), "XDG_CACHE_HOME="+filepath.Join(h.dir, "cache"), "DOCKER_HOST="+engine)
	h.flowship("work-pool", "create", "dock", "--type", "docker", "--set-as-default")
	return h
}

// job is a command that says before, waits until it is let go, says after and results in 7.
func (h *harbour) job(rest string) []string {
	return []string{"--", "sh", "-c", `echo before; until ` + h.gate + `; do sleep 0.02; done; echo after; echo 7 >"$FLOWSHIP_RESULT"; ` + rest}
}

func (h *harbour) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(h.Context()), h.program, args...)
	cmd.Env, cmd.Dir = h.env, h.dir
	return cmd
}

func (h *harbour) try(args ...string) (out string, code int) {
	h.Helper()
	cmd := h.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		h.Fatal(err)
	}
	if cmd.ProcessState.ExitCode() != 0 {
		h.Logf("flowship %s: %s", strings.Join(args, " "), stderr.String())
	}
	return stdout.String(), cmd.ProcessState.ExitCode()
}

func (h *harbour) flowship(args ...string) string {
	h.Helper()
	out, code := h.try(args...)
	if code != 0 {
		h.Fatalf("flowship %s: exit code %d", strings.Join(args, " "), code)
	}
	return out
}

// launched has a run launched by one of the three ways, whose name is its second argument.
func (h *harbour) launched(way, name string, command []string, flags ...string) *exec.Cmd {
	h.Helper()
	args := append(append(append([]string{way, "--name", name}, h.variables...), flags...), command...)
	cmd := h.command(args...)
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	return cmd
}

// began waits until the run's job has said n times that it has begun, and that is in its logs.
func (h *harbour) began(n int, names ...string) {
	h.Helper()
	for _, name := range names {
		h.until(name+" has begun", func() bool {
			out, _ := h.command("flow-run", "logs", name).Output()
			return strings.Count(string(out), "before") == n
		})
	}
}

func (h *harbour) until(what string, done func() bool) {
	h.Helper()
	for deadline := time.Now().Add(40 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.Fatalf("waited in vain until %s", what)
		}
	}
}

// kill kills a program that is no more than started.
func (h *harbour) kill(cmd *exec.Cmd) {
	h.Helper()
	if err := cmd.Process.Kill(); err != nil {
		h.Fatal(err)
	}
	cmd.Wait()
}

// killLauncher kills the process that "submit" has left behind for a run.
func (h *harbour) killLauncher(id string) {
	h.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		h.Fatal(err)
	}
	for _, path := range paths {
		line, _ := os.ReadFile(path)
		if !bytes.Contains(line, []byte(h.program)) || !bytes.Contains(line, []byte("launch\x00--id\x00"+id)) {
			continue
		}
		pid := 0
		fmt.Sscanf(path, "/proc/%d/", &pid)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			h.Fatal(err)
		}
		return
	}
	h.Fatal("nobody launches the run")
}

// outcome is what "inspect" shows of a run.
type outcome struct {
	ID    string `json:"id"`
	State struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"state"`
	Result json.RawMessage `json:"result"`
}

func (h *harbour) inspect(name string) (s outcome) {
	h.Helper()
	if err := json.Unmarshal([]byte(h.flowship("flow-run", "inspect", name, "-o", "json")), &s); err != nil {
		h.Fatal(err)
	}
	return s
}

func (h *harbour) docker(args ...string) string {
	h.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(h.Context()), "docker", args...)
	cmd.Env = h.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// containers are those of a run, or of all with these names.
func (h *harbour) containers(names ...string) (ids []string) {
	h.Helper()
	for _, name := range names {
		ids = append(ids, strings.Fields(h.docker("ps", "--all", "--quiet", "--filter", "label=io.prefect.flow-run-id="+h.inspect(name).ID))...)
	}
	return ids
}

// letGo lets the jobs of runs end.
func (h *harbour) letGo(names ...string) {
	h.Helper()
	for _, id := range h.containers(names...) {
		h.docker("exec", id, "touch", "/go")
	}
}

// wantDone: the runs have completed, once, with all of their output, and left nothing behind.
func (h *harbour) wantDone(names ...string) {
	h.Helper()
	for _, name := range names {
		got := h.inspect(name)
		logs := []string{}
		for line := range strings.Lines(h.flowship("flow-run", "logs", name)) {
			words := strings.Fields(line)
			if last := words[len(words)-1]; last == "before" || last == "after" {
				logs = append(logs, last)
			}
		}
		text := h.flowship("flow-run", "inspect", name)
		want := []any{"COMPLETED", "7", []string{"before", "after"}, 1}
		if diff := cmp.Diff(want, []any{got.State.Type, string(got.Result), logs, strings.Count(text, "Running")}); diff != "" {
			h.Errorf("%s: state, result, logs, how often it was run (-want +got):\n%s\n%s", name, diff, text)
		}
	}
	if left := h.containers(names...); len(left) > 0 {
		h.Errorf("containers that are left: %q", left)
	}
}

// Whoever launched a run is killed, and its container goes on: so does the run, and ends as the
// container does, for whoever waits or looks.
func TestLauncherIsKilled(t *testing.T) {
	h := newHarbour(t)
	// One who waits takes it up.
	direct := h.launched("run", "direct", h.job(""))
	h.began(1, "direct")
	h.kill(direct)
	if got := h.inspect("direct").State.Type; got != "RUNNING" {
		t.Errorf("nobody looks after it: it is %s", got)
	}
	if _, code := h.try("flow-run", "wait", "direct", "--timeout", "1s"); code != 124 { // takes it up, and leaves it
		t.Errorf("exit code %d", code)
	}
	waiting := h.command("flow-run", "logs", "--follow", "direct")
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	h.letGo("direct")
	if err := waiting.Wait(); err != nil {
		t.Error(err)
	}
	h.wantDone("direct")

	// It has ended when somebody looks.
	if err := h.launched("submit", "later", h.job("")).Wait(); err != nil {
		t.Fatal(err)
	}
	h.began(1, "later")
	h.killLauncher(h.inspect("later").ID)
	containers := h.containers("later")
	h.letGo("later")
	h.docker(append([]string{"wait"}, containers...)...)
	if out := h.flowship("flow-run", "ls"); strings.Contains(out, "Running") {
		t.Errorf("ls shows\n%s", out)
	}
	h.wantDone("later")

	// It is cancelled.
	cancelled := h.launched("run", "cancelled", h.job(""))
	h.began(1, "cancelled")
	h.kill(cancelled)
	h.flowship("flow-run", "cancel", "cancelled")
	// Its container is removed under it.
	removed := h.launched("run", "removed", h.job(""))
	h.began(1, "removed")
	h.kill(removed)
	h.docker(append([]string{"rm", "--force"}, h.containers("removed")...)...)
	for name, want := range map[string][2]string{"cancelled": {"CANCELLED", ""}, "removed": {"CRASHED", "its job is not there any more"}} {
		if got := h.inspect(name); got.State.Type != want[0] || !strings.Contains(got.State.Message, want[1]) {
			t.Errorf("%s: %+v, want %q", name, got, want)
		}
	}
	if left := h.containers("cancelled", "removed"); len(left) > 0 {
		t.Errorf("containers that are left: %q", left)
	}

	// It is run again as if nothing had happened.
	again := h.launched("run", "again", h.job(`test -e "$FLOWSHIP_PARAMETERS_FILE"; exit 3`), "--retries", "1")
	h.began(1, "again")
	h.kill(again)
	waiting = h.command("flow-run", "wait", "again")
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	h.letGo("again")
	h.began(2, "again")
	h.kill(waiting) // in the middle of the second attempt
	waiting = h.command("flow-run", "wait", "again")
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	h.letGo("again")
	waiting.Wait()
	if got, code := h.inspect("again"), waiting.ProcessState.ExitCode(); got.State.Type != "FAILED" || code != 1 {
		t.Errorf("%+v, exit code %d", got, code)
	}
	logs := h.flowship("flow-run", "logs", "again")
	if strings.Count(logs, "before") != 2 || strings.Count(logs, "after") != 2 {
		t.Errorf("logs\n%s", logs)
	}
	if left := h.containers("again"); len(left) > 0 {
		t.Errorf("containers that are left: %q", left)
	}
}

// A worker that is killed and started again goes on with its runs: those whose containers have
// ended meanwhile, and those that go on.
func TestWorkerIsKilled(t *testing.T) {
	h := newHarbour(t)
	worker := h.command("worker", "start", "--pool", "dock")
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	names := []string{"first", "second", "third"}
	for _, name := range names {
		if err := h.launched("submit-to-work-pool", name, h.job("")).Wait(); err != nil {
			t.Fatal(err)
		}
	}
	h.began(1, names...)
	containers := h.containers(names...)
	h.kill(worker)
	h.docker("exec", containers[0], "touch", "/go")
	h.docker("wait", containers[0])
	var log bytes.Buffer
	worker = h.command("worker", "start", "--pool", "dock")
	worker.Stderr = &log
	stop := startWorker(t, worker, &log, 40*time.Second)
	for _, id := range containers[1:] {
		h.docker("exec", id, "touch", "/go")
	}
	h.until("the worker has removed the containers", func() bool {
		return len(h.containers(names...)) == 0
	})
	if said := stop(); strings.Count(said, "flow run was taken up") != len(names) || strings.Count(said, "flow run ended") != len(names) {
		t.Errorf("the worker's log:\n%s", said)
	}
	h.wantDone(names...)
	if entries, err := os.ReadDir(filepath.Join(h.dir, "cache", "flowship", "docker")); err != nil || len(entries) > 1 {
		t.Errorf("notes of programs: %v, %v", entries, err)
	}
}
