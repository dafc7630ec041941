//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// team is a Prefect server as a team has it: a work pool with storage and credentials, and
// flowship at a terminal with nothing but the API's address.
type team struct {
	*testing.T
	*stock
	pool   string
	secret string
}

// newTeam makes a pool of local processes. The launcher, if there is one, stands before the steps.
func newTeam(t *testing.T, launcher ...string) *team {
	t.Helper()
	return newTeamOf(t, "process", launcher...)
}

// newTeamOf makes the pool with flowship.
func newTeamOf(t *testing.T, poolType string, launcher ...string) *team {
	t.Helper()
	store := stores(t)["s3"]()
	tm := &team{T: t, stock: newStock(t, store.env...), pool: "team-" + strings.ToLower(rand.Text()[:8]), secret: store.secret}
	tm.env = append(tm.env, "FLOWSHIP_HOME="+t.TempDir())
	tm.run(t, store.fields, "../../testdata/flows/stock/blocks.py", store.kind, tm.pool)
	tm.flowship("work-pool", "create", tm.pool, "--type", poolType)
	args := append([]string{"work-pool", "storage", "configure", store.kind, tm.pool}, store.flags...)
	args = append(args, tm.pool)
	for i, word := range launcher {
		flag := "--launcher"
		if i > 0 {
			flag = "--launcher-arg"
		}
		args = append(args, flag+"="+word)
	}
	tm.flowship(args...)
	return tm
}

// flowship runs a command of flowship's that has to succeed, and returns what it prints.
func (tm *team) flowship(args ...string) string {
	tm.Helper()
	out, errs, code := tm.try(args...)
	if code != 0 {
		tm.Fatalf("flowship %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

func (tm *team) try(args ...string) (out, errs string, code int) {
	tm.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tm.Context()), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tm.launcher, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &stdout, &stderr, tm.env
	if err := cmd.Run(); cmd.ProcessState == nil {
		tm.Fatal(err)
	}
	if strings.Contains(stdout.String()+stderr.String(), tm.secret) {
		tm.Errorf("flowship %s prints the secret", strings.Join(args, " "))
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// serve starts flowship's worker for the pool.
func (tm *team) serve(args ...string) (stop func() string) {
	tm.Helper()
	var log bytes.Buffer
	cmd := exec.CommandContext(context.WithoutCancel(tm.Context()), tm.launcher, append([]string{"worker", "start", "--pool", tm.pool, "--name", "w-" + tm.pool}, args...)...)
	cmd.Stdout, cmd.Stderr, cmd.Env, cmd.Dir = &log, &log, tm.env, tm.TempDir()
	end := startWorker(tm.T, cmd, &log, 40*time.Second)
	stop = sync.OnceValue(func() string {
		said := end()
		if strings.Contains(said, tm.secret) {
			tm.Errorf("the worker's log holds the secret:\n%s", said)
		}
		return said
	})
	tm.Cleanup(func() {
		if log := stop(); tm.Failed() {
			tm.Logf("the worker's log:\n%s", log)
		}
	})
	return stop
}

// get asks the API.
func (tm *team) get(path, body string, into any) {
	tm.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	got, err := tm.call(context.WithoutCancel(tm.Context()), method, path, body)
	if err == nil {
		err = json.Unmarshal(got, into)
	}
	if err != nil {
		tm.Fatalf("%s %s: %v", method, path, err)
	}
}

// seen is what the API shows of a run.
type seen struct {
	Name       string
	Parameters map[string]any
	Tags       []string
	Pool       string
	States     []string
	Data       any
	Message    string
}

func (tm *team) look(id string) (s seen) {
	tm.Helper()
	var run struct {
		Name       string
		Parameters map[string]any
		Tags       []string
		Pool       string `json:"work_pool_name"`
		State      struct {
			Data    any
			Message string
		}
	}
	tm.get("/flow_runs/"+id, "", &run)
	var states []struct{ Name string }
	tm.get("/flow_run_states/?flow_run_id="+id, "", &states)
	s = seen{Name: run.Name, Parameters: run.Parameters, Tags: run.Tags, Pool: run.Pool, Data: run.State.Data, Message: run.State.Message}
	for _, state := range states {
		s.States = append(s.States, state.Name)
	}
	return s
}

// logs are the messages that the API has of a run, once one of them is there.
func (tm *team) logs(id, awaited string) []string {
	tm.Helper()
	deadline := time.Now().Add(time.Minute) // Python may have to start, in a container, on a busy machine
	for {
		var lines []struct{ Message string }
		tm.get("/logs/filter", fmt.Sprintf(`{"logs": {"flow_run_id": {"any_": [%q]}}, "sort": "TIMESTAMP_ASC"}`, id), &lines)
		var messages []string
		for _, l := range lines {
			messages = append(messages, l.Message)
		}
		if slices.ContainsFunc(messages, func(m string) bool { return strings.Contains(m, awaited) }) {
			return messages
		}
		if time.Now().After(deadline) {
			tm.Fatalf("no log of run %s holds %q: %q", id, awaited, messages)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// submitted has flowship submit to the pool, and returns the run's id.
func (tm *team) submitted(args ...string) string {
	tm.Helper()
	return strings.TrimSpace(tm.flowship(append([]string{"submit-to-work-pool", "--pool", tm.pool}, args...)...))
}

func flows(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(filepath.Join("../../testdata/flows", path))
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// A flow in Python is submitted without Python, and Prefect's own worker and executor run it.
func TestPrefectRunsPython(t *testing.T) {
	tm := newTeam(t, started.Python(t))
	tm.work(t, tm.pool)
	flow := flows(t, "team") + "/flow.py:tally"
	good := tm.submitted(flow, "--include", "data/", "-p", "path=data/words.txt", "--name", "four-words", "--tag", "a", "--tag", "b")
	bad := tm.submitted(flow, "--include", "data/", "-p", "fail=true")
	if _, errs, code := tm.try("flow-run", "wait", good, bad); code != 1 {
		t.Errorf("wait: exit code %d\n%s", code, errs)
	}
	got := tm.look(good)
	if diff := cmp.Diff([]any{"four-words", map[string]any{"path": "data/words.txt"}, []string{"a", "b"}, tm.pool}, []any{got.Name, got.Parameters, got.Tags, got.Pool}); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Pending", "Scheduled", "Pending", "Submitting", "Running", "Completed"}, got.States); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	tm.logs(good, "counting the words of data/words.txt")
	if result := strings.TrimSpace(tm.flowship("flow-run", "result", good)); result != `{"words":4}` && result != `{"words": 4}` {
		t.Errorf("result %s", result)
	}
	if out := tm.flowship("flow-run", "logs", good); !strings.Contains(out, "counting the words of data/words.txt") {
		t.Errorf("logs:\n%s", out)
	}
	_, errs, code := tm.try("flow-run", "result", bad)
	if code != 1 || !strings.Contains(errs, "ValueError: as asked") {
		t.Errorf("result of a run that failed: exit code %d\n%s", code, errs)
	}
}

// What Prefect's own client submits with flowship as launcher, flowship's worker runs.
func TestWorkerRunsStockBundles(t *testing.T) {
	tm := newTeam(t)
	stop := tm.serve()
	got := tm.submit(t, tm.pool, nil, `{}`, `{"fail": true}`)
	for i := range got {
		if got[i].Type == "COMPLETED" {
			got[i].Message = ""
		}
	}
	want := []endedRun{
		{Type: "COMPLETED", Result: map[string]any{"sum": 42.0, "script": true}},
		{Type: "FAILED", Message: "Flow run encountered an exception: ValueError: as asked", Result: "ValueError('as asked')"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	stop()
	tm.wantNothingLeft(t)
}

// Flows in Go and commands are seen on the server as Prefect's own are.
func TestWorkerRunsGoAndCommands(t *testing.T) {
	tm := newTeam(t)
	tm.serve()
	program := tm.submitted(flows(t, "wordcount")+":WordCount", "--include", "texts/", "--name", "in-go")
	command := tm.submitted("--dir", flows(t, "team"), "--include", "data/", "-p", "n=1", "--name", "a-command", "--", "sh", "-c",
		`echo "there are $(wc -w <data/words.txt)"; echo '{"words": 4}' >"$FLOWSHIP_RESULT"`)
	failing := tm.submitted("--", "sh", "-c", "echo no >&2; exit 7")
	tm.try("flow-run", "wait", program, command, failing)
	got := tm.look(command)
	if diff := cmp.Diff(seen{
		Name: "a-command", Parameters: map[string]any{"n": 1.0}, Tags: []string{}, Pool: tm.pool,
		States: []string{"Pending", "Scheduled", "Pending", "Submitting", "Running", "Completed"}, Data: map[string]any{"words": 4.0},
	}, got); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
	tm.logs(command, "there are 4")
	if got := tm.look(failing); got.States[len(got.States)-1] != "Failed" || !strings.Contains(got.Message, "7") {
		t.Errorf("a command that fails: %+v", got)
	}
	tm.logs(failing, "no")
	if got := tm.look(program); got.Name != "in-go" || got.States[len(got.States)-1] != "Completed" || got.Data == nil {
		t.Errorf("flow in Go: %+v", got)
	}
	for id, want := range map[string]string{program: "", command: `{"words":4}`} {
		if result := strings.TrimSpace(tm.flowship("flow-run", "result", id)); result == "null" || want != "" && result != want {
			t.Errorf("result %s, want %s", result, want)
		}
	}
	tm.wantNothingLeft(t)
}

// What is launched from here is seen on the server as well.
func TestRunsOfPrefectFromHere(t *testing.T) {
	tm := newTeam(t)
	flow := flows(t, "team") + "/flow.py:tally"
	out := tm.flowship("run", flow, "--include", "data/", "--pool", tm.pool, "-o", "json")
	var run struct {
		ID     string
		State  struct{ Type string }
		Result any
	}
	if err := json.Unmarshal([]byte(out), &run); err != nil || run.State.Type != "COMPLETED" {
		t.Fatalf("%s: %v", out, err)
	}
	if diff := cmp.Diff(any(map[string]any{"words": 4.0}), run.Result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if out, errs, code := tm.try("run", "--pool", tm.pool, "--", "sh", "-c", "echo out; echo err >&2; exit 3"); code != 3 || out != "out\n" || !strings.Contains(errs, "err\n") {
		t.Errorf("command: exit code %d, %q, %q", code, out, errs)
	}
	id := strings.TrimSpace(tm.flowship("submit", "--pool", tm.pool, "--", "sh", "-c", "sleep 100"))
	if err := tm.cancelRunning(id); err != nil {
		t.Error(err)
	}
	if _, _, code := tm.try("flow-run", "wait", id); code != 1 {
		t.Errorf("wait for a cancelled run: exit code %d", code)
	}
	if got := tm.look(id); got.States[len(got.States)-1] != "Cancelled" {
		t.Errorf("%+v", got)
	}
	tm.wantNothingLeft(t)
}

func (tm *team) cancelRunning(id string) error { return tm.stock.cancel(tm.Context(), id) }

// deploy makes a deployment of the flow in flow.py of a directory, and a run of it as made says.
func (tm *team) deploy(dir, flow, variables, made string) (run string) {
	tm.Helper()
	var it, deployment, created struct{ ID string }
	tm.get("/flows/", fmt.Sprintf(`{"name": %q}`, flow), &it)
	tm.get("/deployments/", fmt.Sprintf(`{"name": %q, "flow_id": %q, "entrypoint": "flow.py:%s", "work_pool_name": %[1]q, "enforce_parameter_schema": false, "job_variables": %[4]s,
		"pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": %[5]q}}]}`, tm.pool, it.ID, flow, variables, dir), &deployment)
	tm.get("/deployments/"+deployment.ID+"/create_flow_run", made, &created)
	return created.ID
}

// TestWorkerRunsDeployments: a deployment that Prefect knows runs on flowship's worker, with its job
// variables below the run's and what the server's blocks and variables say. Its pool has no base job
// template before a worker comes.
func TestWorkerRunsDeployments(t *testing.T) {
	tm := newTeam(t)
	dir := flows(t, "team")
	if _, err := tm.call(t.Context(), http.MethodPatch, "/work_pools/"+tm.pool, `{"base_job_template": {}}`); err != nil {
		t.Fatal(err)
	}
	var variable struct{ ID string }
	tm.get("/variables/", fmt.Sprintf(`{"name": %q, "value": "variable"}`, tm.pool), &variable)
	deploy := func(flow, variables, made string) string { return tm.deploy(dir, flow, variables, made) }
	env := fmt.Sprintf(`{"working_dir": %q, "env": {"UNDER": "deployment", "OVER": "deployment",
		"BLOCK": "a {{ prefect.blocks.aws-credentials.%[2]s.region_name }}", "VARIABLE": "{{ prefect.variables.%[2]s }}"}}`, t.TempDir(), tm.pool)
	run := deploy("told", env, `{"parameters": {"names": ["UNDER", "OVER", "BLOCK", "VARIABLE", "PREFECT__WORKER_NAME", "PREFECT__DEPLOYMENT_NAME"]}, "job_variables": {"env": {"OVER": "run"}}}`)
	suspended := deploy("suspended", "{}", "{}")
	endless, killed := deploy("guarded", "{}", "{}"), deploy("guarded", "{}", `{"parameters": {"killed": true}}`)
	stop := tm.serve()
	tm.try("flow-run", "wait", run)
	if got := tm.look(run); got.States[len(got.States)-1] != "Completed" {
		t.Errorf("%+v", got)
	}
	tm.logs(run, "the environment holds deployment, run, a us-east-1, variable, w-"+tm.pool+", "+tm.pool)

	tm.cancelGuarded(endless)
	tm.try("flow-run", "wait", killed)
	if got := tm.look(killed); got.States[len(got.States)-1] != "Crashed" || !strings.HasPrefix(got.Message, "Process exited with status code: -9. ") {
		t.Errorf("%+v", got)
	}
	tm.logs(killed, "cleared up, Crashed")

	// Its process ends, and another one goes on when somebody has it resumed.
	tm.logs(suspended, "Finished in state Suspended")
	if _, err := tm.call(t.Context(), http.MethodPost, "/flow_runs/"+suspended+"/resume", `{}`); err != nil {
		t.Fatal(err)
	}
	tm.try("flow-run", "wait", suspended)
	want := []string{"Scheduled", "Pending", "Submitting", "Running", "Suspended", "Resuming", "Pending", "Submitting", "Running", "Completed"}
	if diff := cmp.Diff(want, tm.look(suspended).States); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if said := stop(); !strings.Contains(said, "said to the terminal\n") || strings.Contains(said, "RuntimeWarning") {
		t.Error("the worker prints what its jobs print, and Python warns of nothing")
	}
}

// cancelGuarded cancels a run of guarded, which is never called anything but cancelled, and of which
// the hooks run.
func (tm *team) cancelGuarded(id string) {
	tm.Helper()
	tm.logs(id, "guarded")
	tm.flowship("flow-run", "cancel", id)
	tm.eventually("it is CANCELLED", func() bool { return slices.Contains(tm.inPool("CANCELLED"), id) })
	if diff := cmp.Diff([]string{"Scheduled", "Pending", "Submitting", "Running", "Cancelling", "Cancelled"}, tm.look(id).States); diff != "" {
		tm.Errorf("states (-want +got):\n%s", diff)
	}
	tm.logs(id, "cleared up, Cancelling")
}

// TestWorkerServesQueues: a worker that serves one queue leaves the others alone.
func TestWorkerServesQueues(t *testing.T) {
	tm := newTeam(t)
	if _, err := tm.call(t.Context(), http.MethodPost, "/work_pools/"+tm.pool+"/queues", `{"name": "urgent", "priority": 1}`); err != nil {
		t.Fatal(err)
	}
	waiting := tm.submitted("--", "true")
	var flow, run struct{ ID string }
	tm.get("/flows/", `{"name": "true"}`, &flow)
	tm.get("/flow_runs/", fmt.Sprintf(`{"flow_id": %q, "work_pool_name": %q, "work_queue_name": "urgent", "state": {"type": "SCHEDULED"}, "job_variables": {"command": "sh -c 'exit 3'"}}`, flow.ID, tm.pool), &run)
	tm.flowship("worker", "start", "--pool", tm.pool, "--work-queue", "urgent", "--run-once")
	if got := tm.look(run.ID); got.States[len(got.States)-1] != "Crashed" || !strings.Contains(got.Message, "exit code 3") {
		t.Errorf("%+v", got)
	}
	if got := tm.look(waiting); got.States[len(got.States)-1] != "Scheduled" {
		t.Errorf("%+v", got)
	}
}
