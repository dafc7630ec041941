//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// containers are those of the pool that are there, in whichever state.
func (tm *team) containers() []string {
	tm.Helper()
	out, err := tm.docker("ps", "--all", "--quiet", "--filter", "label=io.prefect.work-pool-name="+tm.pool)
	if err != nil {
		tm.Fatalf("docker ps: %v: %s", err, out)
	}
	return strings.Fields(out)
}

// removeContainers removes at the end of the test what is to stay otherwise. What they have printed shows where a test fails.
func (tm *team) removeContainers() {
	tm.Cleanup(func() {
		for _, id := range tm.containers() {
			said, err := tm.docker("logs", id)
			if tm.Failed() {
				tm.Logf("container %s: %s, %v", id, said, err)
			}
			if out, err := tm.docker("rm", "--force", id); err != nil {
				tm.Errorf("docker rm: %v: %s", err, out)
			}
		}
	})
}

func (tm *team) docker(args ...string) (string, error) {
	cmd := exec.CommandContext(context.WithoutCancel(tm.Context()), "docker", args...)
	cmd.Env = tm.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// follow follows the logs of a run to their end, and calls seen when a line has the text.
func (tm *team) follow(id, text string, seen func() error) {
	tm.Helper()
	ctx, cancel := context.WithTimeout(tm.Context(), 4*time.Minute)
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
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
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
	if diff := cmp.Diff([]string{"Pending", "Running", "Completed"}, tm.look(launched).States); diff != "" {
		t.Errorf("states of a run that was launched from here (-want +got):\n%s", diff)
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
