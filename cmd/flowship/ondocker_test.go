//go:build linux

package main

import (
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/launch/infratest"
)

// docker returns the address of the testbed's engine, or skips the test.
func docker(t *testing.T) string {
	t.Helper()
	return started.Server(t, "docker", "FLOWSHIP_TEST_DOCKER")
}

// Runs of a Prefect server in containers: their executor reports for itself. It is the small one,
// which gets at its files by signed URLs, unless it has to read the credentials for them from the
// server.
func TestPrefectRunsInContainers(t *testing.T) {
	engine := docker(t)
	tm := newTeamOf(t, "docker")
	tm.env = append(tm.env, "DOCKER_HOST="+engine)
	dir := with(t)(delivered.programs())
	tm.launcher = filepath.Join(dir, "flowship")
	small, whole := sizeOf(t, dir, "flowship-executor-linux-"), sizeOf(t, dir, "flowship-linux-")
	variables := []string{"-v", "image=flowship-test:busybox", "-v", "image_pull_policy=Never", "-v", "auto_remove=true"}
	stop := tm.serve()
	command := []string{"--dir", flows(t, "team"), "--include", "data/", "--", "sh", "-c", `echo "there are $(wc -w <data/words.txt), by $(wc -c </flowship/bin/flowship)"; echo '{"words": 4}' >"$FLOWSHIP_RESULT"`}
	queued := tm.submitted(slices.Concat(variables, []string{"-v", "storage_access=ambient"}, command)...)
	program := tm.submitted(append(variables, flows(t, "wordcount")+":WordCount", "--include", "texts/")...)
	failing := tm.submitted(append(variables, "--", "sh", "-c", "exit 7")...)
	imageless := tm.submitted("-v", "image=nosuch:1", "-v", "image_pull_policy=Never", "--", "true")
	launched := strings.TrimSpace(tm.flowship(slices.Concat([]string{"submit", "--pool", tm.pool}, variables, command)...))
	launchedProgram := strings.TrimSpace(tm.flowship(slices.Concat([]string{"submit", "--pool", tm.pool}, variables, []string{flows(t, "wordcount") + ":WordCount", "--include", "texts/"})...))
	if out := tm.flowship(slices.Concat([]string{"run", "--pool", tm.pool}, variables, []string{flows(t, "wordcount") + ":WordCount", "--include", "texts/"})...); !strings.Contains(out, `"lines":76`) {
		t.Errorf("run prints %q", out)
	}
	tm.try("flow-run", "wait", queued, program, failing, imageless, launched, launchedProgram)
	gate := t.TempDir()
	gated := tm.submitted(append(variables, "-v", fmt.Sprintf(`volumes=["%s:/gate"]`, gate), "--timeout", "1m", "--", "sh", "-c", "echo begun; until test -e /gate/open; do sleep 0.05; done; echo done")...)
	tm.follow(gated, "begun", func() error { return os.WriteFile(filepath.Join(gate, "open"), nil, 0o600) })
	direct := tm.flowship(append(append([]string{"run", "--pool", tm.pool}, variables...), command...)...)
	if want := fmt.Sprintf("there are 4, by %d\n", small); direct != want {
		t.Errorf("run prints %q, want %q", direct, want)
	}
	tm.logs(queued, fmt.Sprintf("there are 4, by %d", whole))
	for id, want := range map[string][2]string{
		queued: {"Completed", ""}, launched: {"Completed", ""}, launchedProgram: {"Completed", ""}, gated: {"Completed", ""}, program: {"Completed", ""}, failing: {"Failed", "exit code 7"}, imageless: {"Crashed", `the engine has no image "nosuch:1"`},
	} {
		if got := tm.look(id); got.States[len(got.States)-1] != want[0] || !strings.Contains(got.Message, want[1]) {
			t.Errorf("want %q: %+v", want, got)
		}
	}
	for id, want := range map[string]string{queued: `{"words":4}`, launched: `{"words":4}`, program: `"lines":76`, launchedProgram: `"lines":76`} {
		if result := tm.flowship("flow-run", "result", id); !strings.Contains(result, want) {
			t.Errorf("result %s, want %s", result, want)
		}
	}
	stop()
	tm.wantNoContainers()
}

// sizeOf is the size in bytes of a program that goes into containers.
func sizeOf(t *testing.T, dir, name string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, name+runtime.GOARCH))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A flow in Go is for the platform of the image, whatever that of this machine; so is the executor,
// and where there is none, the run says which to build.
func TestGoFlowIsForTheImage(t *testing.T) {
	engine := docker(t)
	flowship, err := exec.LookPath("flowship")
	if err != nil {
		t.Fatal(err)
	}
	arch := "arm64"
	if runtime.GOARCH == arch {
		arch = "amd64"
	}
	const image = "flowship-test:other"
	env := append(os.Environ(), "DOCKER_HOST="+engine, "FLOWSHIP_HOME="+t.TempDir())
	run := func(stdin io.Reader, program string, args ...string) (out string, err error) {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env, cmd.Stdin = env, stdin
		text, err := cmd.CombinedOutput()
		return string(text), err
	}
	must := func(stdin io.Reader, program string, args ...string) string {
		t.Helper()
		out, err := run(stdin, program, args...)
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", program, args, err, out)
		}
		return out
	}
	must(infratest.Image(t, image, arch), "docker", "load")
	defer run(nil, "docker", "image", "rm", image)
	source := t.TempDir()
	for file, text := range map[string]string{"go.mod": "module example.com/none\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(source, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must(nil, flowship, "work-pool", "create", "dock", "--type", "docker", "--set-as-default")
	flow := []string{source + ":None", "-v", "image=" + image, "-v", "image_pull_policy=Never"}
	machines := map[string]elf.Machine{"arm64": elf.EM_AARCH64, "amd64": elf.EM_X86_64}
	for _, test := range []struct {
		variables []string
		want      elf.Machine
	}{
		{nil, machines[arch]},
		{[]string{"-v", "platform=linux/" + runtime.GOARCH}, machines[runtime.GOARCH]},
	} {
		out := must(nil, flowship, append(append([]string{"submit-to-work-pool", "-o", "json"}, flow...), test.variables...)...)
		var queued struct{ ID string }
		if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &queued); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		dir := filepath.Join(t.TempDir(), "bundle")
		must(nil, flowship, "bundle", "pull", queued.ID, dir)
		programs, err := filepath.Glob(filepath.Join(dir, "programs", "*"))
		if err != nil || len(programs) != 1 {
			t.Fatalf("programs %q, %v", programs, err)
		}
		f, err := elf.Open(programs[0])
		if err != nil {
			t.Fatal(err)
		}
		if f.Close(); f.Machine != test.want {
			t.Errorf("%v: the program is for %v, want %v", test.variables, f.Machine, test.want)
		}
	}
	out, err := run(nil, flowship, append([]string{"run"}, flow...)...)
	if want := "flowship-executor-linux-" + arch; err == nil || !strings.Contains(out, want) || !strings.Contains(out, "GOARCH="+arch) {
		t.Errorf("%v: %s, want a word about %s", err, out, want)
	}
}

// A worker is killed. A run whose executor goes on reports for itself, and one whose container is
// killed as well ends CRASHED; the next worker removes what is left of both.
func TestPrefectWorkerOfContainersIsKilled(t *testing.T) {
	engine := docker(t)
	tm := newTeamOf(t, "docker")
	tm.becomeBrief()
	tm.env = append(tm.env, "DOCKER_HOST="+engine, "XDG_CACHE_HOME="+t.TempDir(), "PATH="+with(t)(delivered.programs())+":"+os.Getenv("PATH"))
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
	tm.eventually("the run has reported its end", func() bool {
		states := tm.look(lives).States
		return states[len(states)-1] == "Completed"
	})
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
