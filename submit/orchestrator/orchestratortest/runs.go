package orchestratortest

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

func testLife(b *bed) {
	pool := b.pool(orchestrator.NewWorkPool{})
	n := orchestrator.NewFlowRun{
		ID: uuid.NewString(), Flow: unique("train"), Name: "tidy-newt", WorkPool: pool, Parameters: json.RawMessage(`{"a":1}`), Tags: []string{"x", "y"},
		Version: "1.2", Labels: map[string]string{"team": "a"},
		Bundle:  orchestrator.Bundle{URL: "file:///s", Key: "k", Digest: "sha256:00", FilesKey: "files/00.zip"},
		Results: "file:///r", Submission: json.RawMessage(`{"b":2}`), JobVariables: json.RawMessage(`{"env":{"A":"1"}}`), Priority: -3,
		Policy: orchestrator.Policy{Retries: 2, RetryDelay: 7 * time.Second}, State: due(time.Now().Add(time.Hour)),
	}
	if b.KeepsToSchedule {
		n.State = due(time.Now().Add(time.Second))
	}
	create := n
	if b.assigner() != nil {
		create.ID, create.Bundle, create.Submission = "", orchestrator.Bundle{}, nil
	}
	created := b.create(create)
	if a := b.assigner(); a != nil {
		n.ID = created.ID
		b.must(a.SetBundle(b.Context(), n.ID, n.Bundle, n.Submission))
	}
	pending, running, completed := state("PENDING"), state("RUNNING"), state("COMPLETED")
	b.accept(n.ID, pending)
	b.must(b.SetInfrastructure(b.Context(), n.ID, "4711"))
	b.accept(n.ID, running)
	b.accept(n.ID, completed)

	flow, err := b.EnsureFlow(b.Context(), n.Flow)
	b.must(err)
	got := b.run(n.ID)
	b.diff("run", &orchestrator.FlowRun{
		ID: n.ID, FlowID: flow, Flow: n.Flow, Name: n.Name, WorkPool: pool, Parameters: n.Parameters, Tags: n.Tags, Version: n.Version, Labels: n.Labels,
		Bundle: n.Bundle, Results: n.Results, Submission: n.Submission, JobVariables: n.JobVariables, Infrastructure: "4711", Priority: n.Priority,
		Policy: n.Policy, RunCount: 1, State: completed, Created: created.Created, Started: running.Timestamp, Ended: completed.Timestamp,
	}, got, b.proposed())
	states, err := b.States(b.Context(), n.ID)
	b.must(err)
	b.diff("states", []orchestrator.State{n.State, pending, running, completed}, states, b.proposed())
}

func testDefaults(b *bed) {
	run := b.create(orchestrator.NewFlowRun{State: state("COMPLETED")})
	got := b.run(run.ID)
	b.diff("created and read", run, got, micro)
	b.diff("defaults", &orchestrator.FlowRun{
		ID: got.ID, FlowID: got.FlowID, Flow: "train", Name: got.Name, Parameters: json.RawMessage("{}"), Tags: []string{}, Labels: map[string]string{},
		Submission: json.RawMessage("{}"), JobVariables: json.RawMessage("{}"), State: got.State, Created: got.Created, Ended: got.Ended,
	}, got)
	if got.ID == "" || got.FlowID == "" || got.Name == "" || got.Created.IsZero() || got.Ended.IsZero() {
		b.Errorf("%+v", got)
	}
	if age := time.Since(got.Created); age < -time.Minute || age > time.Minute {
		b.Errorf("created %v ago", age)
	}
}

func testNotFound(b *bed) {
	ctx, nobody := b.Context(), uuid.NewString()
	_, err := b.FlowRun(ctx, nobody)
	b.wantErr("get", err, orchestrator.ErrNotFound)
	_, err = b.States(ctx, nobody)
	b.wantErr("states", err, orchestrator.ErrNotFound)
	_, err = b.SetState(ctx, nobody, state("RUNNING"), nil)
	b.wantErr("set state", err, orchestrator.ErrNotFound)
	_, err = b.SetState(ctx, nobody, state("RUNNING"), &orchestrator.SetStateOptions{Force: true})
	b.wantErr("force a state", err, orchestrator.ErrNotFound)
	_, err = b.FindFlowRun(ctx, nobody)
	b.wantErr("find", err, orchestrator.ErrNotFound)
	b.create(orchestrator.NewFlowRun{State: state("COMPLETED")})
	_, err = b.FindFlowRun(ctx, "") // though every id begins with it
	b.wantErr("find nothing", err, orchestrator.ErrNotFound)
	b.wantErr("delete", b.DeleteFlowRun(ctx, nobody), orchestrator.ErrNotFound)
	b.wantErr("set infrastructure", b.SetInfrastructure(ctx, nobody, "1"), orchestrator.ErrNotFound)
	b.wantErr("hold", b.Hold(ctx, nobody, orchestrator.NewLease("executor", 0)), orchestrator.ErrNotFound)
	logs, err := b.Logs(ctx, orchestrator.LogFilter{FlowRunID: nobody})
	b.must(err)
	b.diff("logs", []orchestrator.Log{}, logs, cmpopts.EquateEmpty())
}

func testListing(b *bed) {
	pool, other := b.pool(orchestrator.NewWorkPool{}), b.pool(orchestrator.NewWorkPool{})
	var want []string
	for i := range 6 {
		s := state("RUNNING")
		if i%2 == 0 {
			s = state("COMPLETED")
		}
		lease := orchestrator.NewLease("executor", 0)
		want = append(want, b.create(orchestrator.NewFlowRun{WorkPool: pool, State: s, Lease: &lease}).ID)
	}
	slices.Reverse(want)
	alone := b.create(orchestrator.NewFlowRun{WorkPool: other, State: state("FAILED")}).ID
	for _, test := range []struct {
		name   string
		filter orchestrator.Filter
		want   []string
	}{
		{"of the pool", orchestrator.Filter{WorkPool: pool}, want},
		{"of the other", orchestrator.Filter{WorkPool: other}, []string{alone}},
		{"the last ones", orchestrator.Filter{WorkPool: pool, Limit: 2}, want[:2]},
		{"running or failed", orchestrator.Filter{WorkPool: pool, States: []orchestrator.StateType{"RUNNING", "FAILED"}}, []string{want[0], want[2], want[4]}},
		{"the last that was completed", orchestrator.Filter{WorkPool: pool, States: []orchestrator.StateType{"COMPLETED"}, Limit: 1}, []string{want[1]}},
		{"failed", orchestrator.Filter{WorkPool: pool, States: []orchestrator.StateType{"FAILED"}}, []string{}},
		{"the last of all pools", orchestrator.Filter{Limit: 1}, []string{alone}},
	} {
		runs, err := b.FlowRuns(b.Context(), test.filter)
		b.must(err)
		b.diff(test.name, test.want, ids(runs))
	}
}

func testCurrentStates(b *bed) {
	want, asked := map[string]orchestrator.State{}, []string{uuid.NewString(), "", "no id"}
	for _, s := range []orchestrator.State{state("COMPLETED"), state("RUNNING"), awaitingRetry(), due(time.Now().Add(time.Hour))} {
		id, _ := b.in(s)
		want[id], asked = s, append(asked, id, id)
	}
	b.in(state("COMPLETED"))
	got, err := b.CurrentStates(b.Context(), asked)
	b.must(err)
	b.diff("states", want, got, b.proposed())
	got, err = b.CurrentStates(b.Context(), nil)
	b.must(err)
	b.diff("states of none", map[string]orchestrator.State{}, got, cmpopts.EquateEmpty())
}

func testDeletion(b *bed) {
	ctx := b.Context()
	for _, s := range []orchestrator.State{state("PENDING"), state("RUNNING"), state("CANCELLING"), awaitingRetry()} {
		id, _ := b.in(s)
		b.wantErr(s.Name, b.DeleteFlowRun(ctx, id), orchestrator.ErrUnfinished)
		b.run(id)
	}
	for _, s := range []orchestrator.State{state("COMPLETED"), state("SCHEDULED")} {
		id, _ := b.in(s)
		b.must(b.WriteLogs(ctx, []orchestrator.Log{{FlowRunID: id, Message: "m"}}))
		b.must(b.DeleteFlowRun(ctx, id))
		_, err := b.FlowRun(ctx, id)
		b.wantErr("get", err, orchestrator.ErrNotFound)
		_, err = b.States(ctx, id)
		b.wantErr("states", err, orchestrator.ErrNotFound)
		logs, err := b.Logs(ctx, orchestrator.LogFilter{FlowRunID: id})
		b.must(err)
		b.diff("logs", []orchestrator.Log{}, logs, cmpopts.EquateEmpty())
		b.wantErr("delete again", b.DeleteFlowRun(ctx, id), orchestrator.ErrNotFound)
	}
}
