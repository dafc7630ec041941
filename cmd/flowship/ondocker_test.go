//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
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
	direct := tm.flowship(append(append([]string{"run", "--pool", tm.pool}, variables...), command...)...)
	if !strings.Contains(direct, "there are 4") {
		t.Errorf("run prints %q", direct)
	}
	tm.logs(queued, "there are 4")
	for id, want := range map[string][2]string{
		queued: {"Completed", ""}, program: {"Completed", ""}, failing: {"Failed", "exit code 7"}, imageless: {"Crashed", `the engine has no image "nosuch:1"`},
	} {
		if got := tm.look(id); got.States[len(got.States)-1] != want[0] || !strings.Contains(got.Message, want[1]) {
			t.Errorf("want %q: %+v", want, got)
		}
	}
	if result := strings.TrimSpace(tm.flowship("flow-run", "result", queued)); result != `{"words":4}` {
		t.Errorf("result %s", result)
	}
	stop()
	if left := tm.containers(); len(left) > 0 {
		t.Errorf("containers that are left: %v", left)
	}
}
