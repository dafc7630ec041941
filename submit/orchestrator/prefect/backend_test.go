package prefect_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// request sends what another tool might, and decodes the answer.
func request(t *testing.T, s prefect.Settings, method, path, body string, answer any) {
	t.Helper()
	said, err := started.Ask(t.Context(), method, s.APIURL+path, body)
	must(t, err)
	if answer != nil {
		must(t, json.Unmarshal(said, answer))
	}
}

// TestData: what a run resulted in travels with its state, except with its first one.
func TestData(t *testing.T) {
	c := open(t, plain(t))
	for _, data := range []string{`{"storage_key":"k"}`, `[1,"a"]`, `0`, `false`, `""`, ``} {
		lease := orchestrator.NewLease("executor", 0)
		run := create(t, c, orchestrator.NewFlowRun{Flow: "data", State: step("RUNNING"), Lease: &lease})
		done := step("COMPLETED")
		if data != "" {
			done.Data = json.RawMessage(data)
		}
		out, err := c.SetState(t.Context(), run.ID, done, nil)
		must(t, err)
		got, err := c.CurrentStates(t.Context(), []string{strings.ToUpper(run.ID)})
		must(t, err)
		diff(t, "data", []string{data, data}, []string{string(out.State.Data), string(got[strings.ToUpper(run.ID)].Data)})
	}
}

// TestForeignRuns: a run of another tool's is never ended, nor does one get another's leases.
func TestForeignRuns(t *testing.T) {
	settings := plain(t)
	c, other := open(t, settings), open(t, settings)
	ctx := t.Context()
	flow, err := c.EnsureFlow(ctx, "foreign")
	must(t, err)
	var stock struct{ ID string }
	request(t, settings, "POST", "/flow_runs/", fmt.Sprintf(`{"flow_id": %q, "state": {"type": "RUNNING"}}`, flow), &stock)

	lapsing := orchestrator.NewLease("submitter", time.Nanosecond)
	lapsed := create(t, c, orchestrator.NewFlowRun{Flow: "foreign", State: step("PENDING"), Lease: &lapsing})
	live := orchestrator.NewLease("executor", time.Minute)
	held := create(t, c, orchestrator.NewFlowRun{Flow: "foreign", State: step("RUNNING"), Lease: &live})

	// One that ended, and that another tool runs again, has nothing left of its first life.
	short := orchestrator.NewLease("executor", time.Nanosecond)
	again := create(t, c, orchestrator.NewFlowRun{Flow: "foreign", State: step("RUNNING"), Lease: &short})
	_, err = c.SetState(ctx, again.ID, step("FAILED"), nil)
	must(t, err)
	request(t, settings, "POST", "/flow_runs/"+again.ID+"/set_state", `{"state": {"type": "RUNNING"}, "force": true}`, nil)

	_, err = other.EndLost(ctx)
	must(t, err)
	got, err := other.CurrentStates(ctx, []string{stock.ID, lapsed.ID, held.ID, again.ID})
	must(t, err)
	diff(t, "states", []string{"Running", "Crashed", "Running", "Running"},
		[]string{got[stock.ID].Name, got[lapsed.ID].Name, got[held.ID].Name, got[again.ID].Name})
	if m := got[lapsed.ID].Message; !strings.Contains(m, "the submitter has given no sign of life") {
		t.Error(m)
	}
	if run, err := other.FlowRun(ctx, held.ID); err != nil || len(run.Labels) > 0 {
		t.Errorf("labels %v, error %v", run.Labels, err)
	}
}

// TestLosesToOther: of two clients that have a run go on from the same state, the later one learns
// that it is not it.
func TestLosesToOther(t *testing.T) {
	settings := plain(t)
	other := open(t, settings)
	p := throughFaults(t, &settings)
	c := open(t, settings)
	failed := step("FAILED")
	run := create(t, other, orchestrator.NewFlowRun{Flow: "raced", State: failed})
	first := step("RUNNING")
	p.intercept = func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
		if strings.HasSuffix(r.URL.Path, "/set_state") { // c has seen that the run stands where it should
			if _, err := other.SetState(r.Context(), run.ID, first, &orchestrator.SetStateOptions{Force: true, Follows: failed.ID}); err != nil {
				t.Error(err)
			}
		}
		return false
	}
	lease := orchestrator.NewLease("launcher", 0)
	out, err := c.SetState(t.Context(), run.ID, step("RUNNING"), &orchestrator.SetStateOptions{Force: true, Follows: failed.ID, Lease: &lease})
	must(t, err)
	if out.Status != orchestrator.Rejected || out.State.ID != first.ID || out.Reason == "" {
		t.Errorf("%+v", out)
	}
	if err := c.Renew(t.Context(), lease); err == nil {
		t.Error("it has a lease")
	}
}

// TestLateLines: a line that arrives after others that were written later is not lost.
func TestLateLines(t *testing.T) {
	settings := plain(t)
	writer, reader := open(t, settings), open(t, settings)
	run := create(t, writer, orchestrator.NewFlowRun{Flow: "late", State: step("COMPLETED")})
	now := time.Now()
	write := func(lines map[string]time.Duration) {
		t.Helper()
		var logs []orchestrator.Log
		for message, ago := range lines {
			logs = append(logs, orchestrator.Log{FlowRunID: run.ID, Name: orchestrator.LogWorker, Level: 20, Message: message, Timestamp: now.Add(-ago)})
		}
		must(t, writer.WriteLogs(t.Context(), logs))
	}
	last := int64(0)
	read := func(limit int, want ...string) {
		t.Helper()
		logs, err := reader.Logs(t.Context(), orchestrator.LogFilter{FlowRunID: run.ID, After: last, Limit: limit})
		must(t, err)
		got := []string{}
		for _, l := range logs {
			got = append(got, l.Message+" "+l.Name)
			if l.Number <= last {
				t.Errorf("number %d after %d", l.Number, last)
			}
			last = l.Number
		}
		for i := range want {
			want[i] += " " + orchestrator.LogWorker
		}
		diff(t, "lines", append([]string{}, want...), got)
	}
	many := map[string]time.Duration{}
	for i := range 450 { // more than two pages, all of one moment
		many[fmt.Sprint(i)] = time.Hour
	}
	write(many)
	logs, err := reader.Logs(t.Context(), orchestrator.LogFilter{FlowRunID: run.ID})
	must(t, err)
	diff(t, "many", 450, len(logs))
	last = logs[len(logs)-1].Number
	write(map[string]time.Duration{"b": 20 * time.Second, "d": 10 * time.Second})
	read(0, "b", "d")
	write(map[string]time.Duration{"a": 30 * time.Second, "c": 15 * time.Second, "e": 0})
	read(2, "a", "c")
	read(2, "e")
	read(2)
	logs, err = reader.Logs(t.Context(), orchestrator.LogFilter{FlowRunID: run.ID})
	must(t, err)
	for i, l := range logs {
		if l.Number != int64(i+1) {
			t.Fatalf("from the start, number %d is at place %d", l.Number, i+1)
		}
	}
	diff(t, "all", 455, len(logs))
}

// TestLongLogs: a server takes what is as long as it may be, in several parts.
func TestLongLogs(t *testing.T) {
	p := newProxy(t)
	c := p.open(t)
	run := create(t, c, orchestrator.NewFlowRun{Flow: "long", State: step("COMPLETED")})
	var logs []orchestrator.Log
	for i := range 5 {
		message := strings.Repeat(fmt.Sprint(i), orchestrator.MaxMessage)
		logs = append(logs, orchestrator.Log{FlowRunID: run.ID, Level: 20, Message: message, Timestamp: time.Now().Add(time.Duration(i) * time.Second)})
	}
	must(t, c.WriteLogs(t.Context(), logs))
	if n := p.count("POST /api/logs/"); n != 2 {
		t.Errorf("sent in %d parts", n)
	}
	got, err := c.Logs(t.Context(), orchestrator.LogFilter{FlowRunID: run.ID})
	must(t, err)
	if len(got) != len(logs) {
		t.Fatalf("%d lines, want %d", len(got), len(logs))
	}
	for i := range got {
		if got[i].Message != logs[i].Message {
			t.Errorf("line %d has %d bytes, and is another one", i, len(got[i].Message))
		}
	}
}

// TestCloudMessages: Prefect Cloud takes shorter messages.
func TestCloudMessages(t *testing.T) {
	c, requests := serve(t, prefect.Settings{Cloud: true}, answer{201, "", ""})
	must(t, c.WriteLogs(t.Context(), []orchestrator.Log{{FlowRunID: uuid.NewString(), Message: strings.Repeat("é", 20_000)}}))
	if r := (*requests)[0]; len(r) > 25_500 || !strings.Contains(r, orchestrator.MessageCut) {
		t.Errorf("%d bytes are sent", len(r))
	}
}

// TestQueues: the queues of a work pool count before the priorities of flow runs, and a worker may
// serve some of them.
func TestQueues(t *testing.T) {
	settings := plain(t)
	c := open(t, settings)
	ctx, pool := t.Context(), "queues-"+uuid.NewString()
	_, err := c.CreateWorkPool(ctx, orchestrator.NewWorkPool{Name: pool, Type: "process"})
	must(t, err)
	t.Cleanup(func() { c.DeleteWorkPool(context.WithoutCancel(ctx), pool) })
	request(t, settings, "POST", "/work_pools/"+pool+"/queues", `{"name": "fast", "priority": 1}`, nil)
	urgent := create(t, c, orchestrator.NewFlowRun{Flow: "queued", WorkPool: pool, Priority: -9, State: step("SCHEDULED")})
	usual := create(t, c, orchestrator.NewFlowRun{Flow: "queued", WorkPool: pool, State: step("SCHEDULED")})
	var fast struct{ ID string }
	request(t, settings, "POST", "/flow_runs/", fmt.Sprintf(`{"flow_id": %q, "work_pool_name": %q, "work_queue_name": "fast", "state": {"type": "SCHEDULED"}}`, urgent.FlowID, pool), &fast)
	for _, test := range []struct {
		queues []string
		want   []string
	}{
		{nil, []string{fast.ID, urgent.ID, usual.ID}}, {[]string{"default"}, []string{urgent.ID, usual.ID}}, {[]string{"fast"}, []string{fast.ID}}, {[]string{"none"}, []string{}},
	} {
		c.SetQueues(pool, test.queues)
		runs, err := c.ScheduledFlowRuns(ctx, pool, time.Time{}, 0)
		must(t, err)
		got := []string{}
		for _, r := range runs {
			got = append(got, r.ID)
		}
		diff(t, strings.Join(test.queues, ","), test.want, got)
	}
	c.SetQueues("no-such-pool", []string{"default"})
	if _, err := c.ScheduledFlowRuns(ctx, "no-such-pool", time.Time{}, 0); !errors.Is(err, orchestrator.ErrNoWorkPool) {
		t.Error(err)
	}
}

// TestPrefectSees: what is Prefect's own of a run is where Prefect looks for it.
func TestPrefectSees(t *testing.T) {
	settings := plain(t)
	c := open(t, settings)
	ctx := t.Context()
	parent := create(t, c, orchestrator.NewFlowRun{Flow: "parent", State: step("COMPLETED")})
	run := create(t, c, orchestrator.NewFlowRun{
		Flow: "child", Parent: parent.ID, State: step("COMPLETED"), Version: "2", Tags: []string{"x"}, Labels: map[string]string{"team": "a"},
		Policy: orchestrator.Policy{Retries: 2, RetryDelay: 1500 * time.Millisecond},
	})
	must(t, c.Label(ctx, run.ID, map[string]string{"prefect.worker.name": "w", "team": "b"}))
	must(t, c.WriteLogs(ctx, []orchestrator.Log{{FlowRunID: run.ID, Name: orchestrator.LogFlow, Level: 30, Message: "<é>", Timestamp: time.Now()}}))
	type seen struct {
		Version string         `json:"flow_version"`
		Tags    []string       `json:"tags"`
		Labels  map[string]any `json:"labels"`
		Policy  struct {
			Retries, Delay int
		} `json:"empirical_policy"`
		Parent string `json:"parent_task_run_id"`
	}
	var got seen
	request(t, settings, "GET", "/flow_runs/"+run.ID, "", &got)
	delete(got.Labels, "prefect.flow.id")
	diff(t, "labels", map[string]any{"team": "b", "prefect.worker.name": "w"}, got.Labels)
	diff(t, "rest", []any{"2", []string{"x"}, 2}, []any{got.Version, got.Tags, got.Policy.Retries})
	var task struct {
		FlowRunID string `json:"flow_run_id"`
		StateType string `json:"state_type"`
	}
	request(t, settings, "GET", "/task_runs/"+got.Parent, "", &task)
	diff(t, "task run of the parent", []string{parent.ID, "COMPLETED"}, []string{task.FlowRunID, task.StateType})
	var logs []struct{ Name, Message string }
	request(t, settings, "POST", "/logs/filter", fmt.Sprintf(`{"logs": {"flow_run_id": {"any_": [%q]}}}`, run.ID), &logs)
	diff(t, "log", []struct{ Name, Message string }{{"prefect.flow_runs", "<é>"}}, logs)
	read, err := c.FlowRun(ctx, run.ID)
	must(t, err)
	diff(t, "labels of the user's", map[string]string{"team": "b"}, read.Labels)
	diff(t, "policy", orchestrator.Policy{Retries: 2, RetryDelay: 2 * time.Second}, read.Policy)

	var deployment struct{ ID string }
	body := fmt.Sprintf(`{"name": "d-%s", "flow_id": %q, "job_variables": {"image": "i"}}`, uuid.NewString(), run.FlowID)
	request(t, settings, "POST", "/deployments/", body, &deployment)
	d, err := c.Deployment(ctx, deployment.ID)
	must(t, err)
	diff(t, "job variables", `{"image":"i"}`, string(d.JobVariables))
	var scheduled struct{ ID string }
	request(t, settings, "POST", "/deployments/"+deployment.ID+"/create_flow_run", `{}`, &scheduled)
	read, err = c.FlowRun(ctx, scheduled.ID)
	must(t, err)
	diff(t, "deployment and flow", []string{d.ID, "child"}, []string{read.DeploymentID, read.Flow})
	request(t, settings, "DELETE", "/deployments/"+deployment.ID, "", nil)
	if _, err := c.Deployment(ctx, deployment.ID); err == nil {
		t.Error("a deployment that is gone is found")
	}
	if found, err := c.FindFlowRun(ctx, run.ID[:13]); err != nil || found.ID != run.ID {
		t.Errorf("found %v, %v", found, err)
	}
}

// TestRetryFromPages: a run that somebody has run again in the server's pages is offered, and taken,
// as any other that is SCHEDULED.
func TestRetryFromPages(t *testing.T) {
	settings := plain(t)
	c := open(t, settings)
	ctx, pool := t.Context(), "pages-"+uuid.NewString()
	_, err := c.CreateWorkPool(ctx, orchestrator.NewWorkPool{Name: pool, Type: "process"})
	must(t, err)
	t.Cleanup(func() { c.DeleteWorkPool(context.WithoutCancel(ctx), pool) })
	run := create(t, c, orchestrator.NewFlowRun{Flow: "again", WorkPool: pool, State: step("FAILED")})
	request(t, settings, "POST", "/flow_runs/"+run.ID+"/set_state", `{"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": true}`, nil)
	offered, err := c.ScheduledFlowRuns(ctx, pool, time.Time{}, 0)
	must(t, err)
	if len(offered) != 1 || offered[0].ID != run.ID {
		t.Fatalf("offered: %v", offered)
	}
	lease := orchestrator.NewLease("worker", 0)
	out, err := c.SetState(ctx, run.ID, step("PENDING"), &orchestrator.SetStateOptions{Lease: &lease})
	must(t, err)
	diff(t, "claimed", orchestrator.Accepted, out.Status)
}

// TestForeignParent: a variable of the environment that names another server's flow run, or one
// that is deleted, keeps nobody from submitting.
func TestForeignParent(t *testing.T) {
	settings := plain(t)
	c := open(t, settings)
	for _, parent := range []string{uuid.NewString(), "parent"} {
		run := create(t, c, orchestrator.NewFlowRun{Flow: "orphan", Parent: parent, State: step("COMPLETED")})
		var got struct {
			Parent *string `json:"parent_task_run_id"`
		}
		request(t, settings, "GET", "/flow_runs/"+run.ID, "", &got)
		if got.Parent != nil {
			t.Errorf("the run has the parent %q", *got.Parent)
		}
	}
}

// FuzzAnswers: whatever a server answers, it is understood or refused.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"id": "1", "created": "2026-11-21T17:34:56.150385Z", "labels": {"flowship.lease.a-1": "released x", "n": 1}, "empirical_policy": {"retries": -1, "retry_delay": 1e99}, "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": "2026-11-21 17:34:56"}, "data": null}}`))
	f.Add([]byte(`[{"id": "11111111-1111-4111-8111-111111111111", "level": 1e9, "message": null, "timestamp": 5}]`))
	f.Add([]byte(`{"status": "REJECT", "state": null, "details": {"delay_seconds": "x"}, "exception_detail": [{"loc": [1, {}], "msg": "m"}]}`))
	f.Add([]byte(`[null, {"state": {}, "labels": []}]`))
	f.Fuzz(func(t *testing.T, text []byte) { prefect.Understand(text) })
}
