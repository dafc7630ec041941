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
	cmd := exec.CommandContext(t.Context(), "docker", "ps", "--all", "--quiet", "--filter", "label=io.prefect.work-pool-name="+tm.pool)
	cmd.Env = tm.env
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("containers that are left: %s, %v", out, err)
	}
}

// A worker is killed. A run whose executor goes on reports for itself, and one whose container is
// killed as well ends CRASHED; the next worker removes what is left of both.
func TestPrefectWorkerOfContainersIsKilled(t *testing.T) {
	engine := docker(t)
	tm := newTeamOf(t, "docker")
	tm.becomeBrief()
	tm.env = append(tm.env, "DOCKER_HOST="+engine, "XDG_CACHE_HOME="+t.TempDir())
	tm.buildFor("flowship", "flowship-linux-"+runtime.GOARCH)
	engineSays := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "docker", args...)
		cmd.Env = tm.env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	container := func(id string) string {
		return engineSays("ps", "--all", "--quiet", "--filter", "label=io.prefect.flow-run-id="+id)
	}
	worker, _ := tm.start("worker", "start", "--pool", tm.pool)
	command := []string{"-v", "image=flowship-test:busybox", "-v", "image_pull_policy=Never", "-v", "auto_remove=true", "--", "sh", "-c", "echo before; until test -e /go; do sleep 0.05; done; echo after"}
	lives, dies := tm.submitted(command...), tm.submitted(command...)
	tm.logs(lives, "before")
	tm.logs(dies, "before")
	if err := worker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	worker.Wait()
	engineSays("exec", container(lives), "touch", "/go")
	engineSays("kill", container(dies))
	tm.eventually("the run has reported its end", func() bool { return tm.look(lives).States[len(tm.look(lives).States)-1] == "Completed" })
	stop := tm.serve()
	tm.eventually("the other run has ended, and nothing is left", func() bool {
		states := tm.look(dies).States
		return states[len(states)-1] == "Crashed" && container(lives)+container(dies) == ""
	})
	stop()
	if got := tm.look(dies).Message; !strings.Contains(got, "exit code 137") {
		t.Errorf("the run ended with %q", got)
	}
	if logs := strings.Join(tm.logs(lives, "after"), "\n"); strings.Count(logs, "before") != 1 || strings.Count(logs, "after") != 1 {
		t.Errorf("logs\n%s", logs)
	}
}
