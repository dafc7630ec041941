//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// docker returns the address of the testbed's engine, or skips the test.
func docker(t *testing.T) string {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("FLOWSHIP_TEST_UNAVAILABLE"), ","), "docker") {
		t.Skip("needs a Docker engine, which testbed cannot start here")
	}
	return server(t, "docker", "FLOWSHIP_TEST_DOCKER")
}

// buildFor builds a program of this repository as it goes into containers, beside flowship.
func (tm *team) buildFor(program, name string) {
	tm.Helper()
	cmd := exec.CommandContext(tm.Context(), "go", "build", "-o", filepath.Join(filepath.Dir(tm.launcher), name), "../"+program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		tm.Fatalf("go build: %v\n%s", err, out)
	}
}

// follow follows the logs of a run to their end, and calls seen when a line has the text.
func (tm *team) follow(id, text string, seen func() error) {
	tm.Helper()
	ctx, cancel := context.WithTimeout(tm.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tm.launcher, "flow-run", "logs", "-f", id)
	cmd.Env = tm.env
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		tm.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if seen != nil && strings.Contains(lines.Text(), text) {
			if err := seen(); err != nil {
				tm.Error(err)
			}
			seen = nil
		}
	}
	if err := cmd.Wait(); err != nil || seen != nil {
		tm.Errorf("flow-run logs -f: %v; a line with %q was seen: %v", err, text, seen == nil)
	}
}

// wantNoContainers waits until none of the pool is there. A run has ended in the server's eyes before its container is removed.
func (tm *team) wantNoContainers() {
	tm.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		left := tm.containers()
		switch {
		case len(left) == 0:
			return
		case time.Now().After(deadline):
			tm.Errorf("containers that are left: %v", left)
			return
		}
	}
}

// Runs of a Prefect server in containers: their executor reports for itself, and reads the
// credentials for its files from the server.
func TestPrefectRunsInContainers(t *testing.T) {
	engine := docker(t)
	tm := newTeamOf(t, "docker")
	tm.env = append(tm.env, "DOCKER_HOST="+engine)
	tm.buildFor("flowship", "flowship-linux-"+runtime.GOARCH)
	variables := []string{"-v", "image=flowship-test:busybox", "-v", "image_pull_policy=Never", "-v", "auto_remove=true"}
	stop := tm.serve()
	command := []string{"--dir", flows(t, "team"), "--include", "data/", "--", "sh", "-c", `echo "there are $(wc -w <data/words.txt)"; echo '{"words": 4}' >"$FLOWSHIP_RESULT"`}
	queued := tm.submitted(append(variables, command...)...)
	program := tm.submitted(append(variables, flows(t, "wordcount")+":WordCount", "--include", "texts/")...)
	failing := tm.submitted(append(variables, "--", "sh", "-c", "exit 7")...)
	imageless := tm.submitted("-v", "image=nosuch:1", "-v", "image_pull_policy=Never", "--", "true")
	tm.try("flow-run", "wait", queued, program, failing, imageless)
	gate := t.TempDir()
	gated := tm.submitted(append(variables, "-v", fmt.Sprintf(`volumes=["%s:/gate"]`, gate), "--timeout", "1m", "--", "sh", "-c", "echo begun; until test -e /gate/open; do sleep 0.05; done; echo done")...)
	tm.follow(gated, "begun", func() error { return os.WriteFile(filepath.Join(gate, "open"), nil, 0o600) })
	direct := tm.flowship(append(append([]string{"run", "--pool", tm.pool}, variables...), command...)...)
	if !strings.Contains(direct, "there are 4") {
		t.Errorf("run prints %q", direct)
	}
	tm.logs(queued, "there are 4")
	for id, want := range map[string][2]string{
		queued: {"Completed", ""}, gated: {"Completed", ""}, program: {"Completed", ""}, failing: {"Failed", "exit code 7"}, imageless: {"Crashed", `the engine has no image "nosuch:1"`},
	} {
		if got := tm.look(id); got.States[len(got.States)-1] != want[0] || !strings.Contains(got.Message, want[1]) {
			t.Errorf("want %q: %+v", want, got)
		}
	}
	if result := strings.TrimSpace(tm.flowship("flow-run", "result", queued)); result != `{"words":4}` {
		t.Errorf("result %s", result)
	}
	stop()
	tm.wantNoContainers()
}

// Flows in Python of a Prefect server in containers, by all three ways: Prefect's engine runs them there, results are in the bucket of the
// pool, logs on the server.
func TestPrefectRunsPythonInContainers(t *testing.T) {
	engine := docker(t)
	image := with(t)(delivered.load(bare))
	tm := newTeamOf(t, "docker", "flowship")
	tm.launcher = filepath.Join(with(t)(delivered.programs()), "flowship")
	tm.env = append(tm.env, "DOCKER_HOST="+engine)
	flow := []string{flows(t, "team") + "/flow.py:tally", "--pool", tm.pool, "--include", "data/", "-v", "image=" + image, "-v", "image_pull_policy=Never", "-v", "auto_remove=true"}
	in := func(way string, more ...string) []string { return slices.Concat([]string{way}, flow, more) }
	stop := tm.serve()
	queued := strings.TrimSpace(tm.flowship(in("submit-to-work-pool")...))
	failing := strings.TrimSpace(tm.flowship(in("submit-to-work-pool", "-p", "fail=true")...))
	launched := strings.TrimSpace(tm.flowship(in("submit")...))
	if out := strings.TrimSpace(tm.flowship(in("run")...)); out != `{"words":4}` {
		t.Errorf("run prints %q", out)
	}
	tm.try("flow-run", "wait", queued, failing, launched)
	for _, id := range []string{queued, launched} {
		if got := tm.look(id); got.States[len(got.States)-1] != "Completed" {
			t.Errorf("%+v", got)
		}
		if result := strings.TrimSpace(tm.flowship("flow-run", "result", id)); result != `{"words":4}` {
			t.Errorf("result %s", result)
		}
		tm.logs(id, "counting the words of data/words.txt")
	}
	if data := fmt.Sprint(tm.look(queued).Data); !strings.Contains(data, "storage_block_id") {
		t.Errorf("the result is kept in %s", data)
	}
	if got := tm.look(failing); got.States[len(got.States)-1] != "Failed" || !strings.Contains(got.Message, "ValueError: as asked") {
		t.Errorf("%+v", got)
	}
	stop()
	tm.wantNoContainers()
}
