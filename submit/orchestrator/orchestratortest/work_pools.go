package orchestratortest

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

// sameJSON compares texts by what they mean.
var sameJSON = cmp.Transformer("JSON", func(text json.RawMessage) (v any) {
	if text == nil {
		return nil
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return err.Error()
	}
	return v
})

const (
	template = `{"job_configuration": {"command": "{{ command }}"}, "variables": {"type": "object", "properties": {"command": {"type": "string"}}}}`
	storage  = `{"bundle_upload_step": {"flowship.step.upload": {"path": "/a"}}, "bundle_execution_step": {"flowship.step.execute": {"path": "/a"}},
		"default_result_storage_block_id": null}`
)

func testWorkPools(b *bed) {
	ctx, limit := b.Context(), 4
	full := orchestrator.NewWorkPool{
		Name: unique("pool-b"), Type: "process", Description: "of the lab", Paused: true, ConcurrencyLimit: &limit,
		BaseJobTemplate: json.RawMessage(template), Storage: json.RawMessage(storage),
	}
	bare := orchestrator.NewWorkPool{Name: unique("pool-a"), Type: "process", Storage: json.RawMessage("null")}
	for n, want := range map[*orchestrator.NewWorkPool]orchestrator.WorkPool{
		&full: {
			Name: full.Name, Type: "process", Description: "of the lab", Paused: true, ConcurrencyLimit: &limit,
			BaseJobTemplate: full.BaseJobTemplate, Storage: full.Storage, Status: orchestrator.WorkPoolPaused,
		},
		&bare: {Name: bare.Name, Type: "process", BaseJobTemplate: json.RawMessage("{}"), Status: orchestrator.WorkPoolNotReady},
	} {
		made, err := b.CreateWorkPool(ctx, *n)
		b.must(err)
		got, err := b.WorkPool(ctx, n.Name)
		b.must(err)
		b.diff("created and read", made, got, sameJSON, micro)
		want.ID, want.Created, want.Updated = got.ID, got.Created, got.Updated
		b.diff("work pool", &want, got, sameJSON)
		if got.ID == "" || got.Created.IsZero() || got.Updated.Before(got.Created) {
			b.Errorf("%+v", got)
		}
		_, err = b.CreateWorkPool(ctx, orchestrator.NewWorkPool{Name: n.Name, Type: "docker"})
		b.wantErr("create again", err, orchestrator.ErrExists)
	}
	all, err := b.WorkPools(ctx)
	b.must(err)
	var names []string
	for _, p := range all {
		if p.Name == full.Name || p.Name == bare.Name {
			names = append(names, p.Name)
		}
	}
	b.diff("by name", []string{bare.Name, full.Name}, names)
	for _, name := range names {
		b.must(b.DeleteWorkPool(ctx, name))
		_, err := b.WorkPool(ctx, name)
		b.wantErr("get after the deletion", err, orchestrator.ErrNoWorkPool)
		b.wantErr("delete again", b.DeleteWorkPool(ctx, name), orchestrator.ErrNoWorkPool)
		b.wantErr("change", b.ChangeWorkPool(ctx, name, orchestrator.WorkPoolChange{}), orchestrator.ErrNoWorkPool)
		b.wantErr("make the default", b.SetDefaultWorkPool(ctx, name), orchestrator.ErrNoWorkPool)
		b.wantErr("heartbeat", b.Heartbeat(ctx, orchestrator.Worker{Name: "w", WorkPool: name}), orchestrator.ErrNoWorkPool)
		_, err = b.Workers(ctx, name)
		b.wantErr("workers", err, orchestrator.ErrNoWorkPool)
	}
}

func testWorkPoolChanges(b *bed) {
	ctx, limit, none := b.Context(), 2, -1
	name := b.pool(orchestrator.NewWorkPool{BaseJobTemplate: json.RawMessage(template)})
	want, err := b.WorkPool(ctx, name)
	b.must(err)
	yes, text := true, "of the lab"
	for _, test := range []struct {
		what   string
		change orchestrator.WorkPoolChange
		want   func()
	}{
		{"nothing", orchestrator.WorkPoolChange{}, func() {}},
		{"pause", orchestrator.WorkPoolChange{Paused: &yes}, func() { want.Paused, want.Status = true, orchestrator.WorkPoolPaused }},
		{"description", orchestrator.WorkPoolChange{Description: &text}, func() { want.Description = text }},
		{"limit", orchestrator.WorkPoolChange{ConcurrencyLimit: &limit}, func() { want.ConcurrencyLimit = &limit }},
		{"storage", orchestrator.WorkPoolChange{Storage: json.RawMessage(storage)}, func() { want.Storage = json.RawMessage(storage) }},
		{"template", orchestrator.WorkPoolChange{BaseJobTemplate: json.RawMessage("{}")}, func() { want.BaseJobTemplate = json.RawMessage("{}") }},
		{"no storage", orchestrator.WorkPoolChange{Storage: json.RawMessage(" null")}, func() { want.Storage = nil }},
		{"no limit", orchestrator.WorkPoolChange{ConcurrencyLimit: &none}, func() { want.ConcurrencyLimit = nil }},
	} {
		b.must(b.ChangeWorkPool(ctx, name, test.change))
		got, err := b.WorkPool(ctx, name)
		b.must(err)
		test.want()
		if got.Updated.Before(want.Updated) {
			b.Errorf("%s: updated %v, and before that %v", test.what, got.Updated, want.Updated)
		}
		want.Updated = got.Updated
		b.diff(test.what, want, got, sameJSON)
	}
}

// testWorkPoolNames: what Prefect refuses is refused, and leaves nothing behind.
func testWorkPoolNames(b *bed) {
	mine := uuid.NewString()
	for _, name := range []string{"", "prefect", "prefect-" + mine, "PREFECT:" + mine, "a/" + mine, "100%" + mine} {
		_, err := b.CreateWorkPool(b.Context(), orchestrator.NewWorkPool{Name: name, Type: "process"})
		b.wantErr(name, err, orchestrator.ErrName)
	}
	for _, n := range []orchestrator.NewWorkPool{
		{BaseJobTemplate: json.RawMessage(`[]`)}, {BaseJobTemplate: json.RawMessage(`{`)}, {Storage: json.RawMessage(`"s"`)},
	} {
		n.Name, n.Type = unique("pool"), "process"
		if _, err := b.CreateWorkPool(b.Context(), n); err == nil {
			b.Errorf("template %s and storage %s are taken", n.BaseJobTemplate, n.Storage)
		}
		_, err := b.WorkPool(b.Context(), n.Name)
		b.wantErr("after a refusal", err, orchestrator.ErrNoWorkPool)
	}
}

func testDefaultWorkPool(b *bed) {
	ctx := b.Context()
	first, second := b.pool(orchestrator.NewWorkPool{}), b.pool(orchestrator.NewWorkPool{})
	for _, name := range []string{first, second, second} {
		b.must(b.SetDefaultWorkPool(ctx, name))
		got, err := b.DefaultWorkPool(ctx)
		b.must(err)
		b.diff("default", name, got.Name)
	}
	if p, err := b.WorkPool(ctx, first); err != nil || p.Default {
		b.Errorf("%+v, %v", p, err)
	}
	b.wantErr("one that is not there", b.SetDefaultWorkPool(ctx, unique("pool")), orchestrator.ErrNoWorkPool)
	got, err := b.DefaultWorkPool(ctx)
	b.must(err)
	b.diff("after a failure", second, got.Name)
	b.must(b.DeleteWorkPool(ctx, second))
	_, err = b.DefaultWorkPool(ctx)
	b.wantErr("after its deletion", err, orchestrator.ErrNoWorkPool)
}

func testWorkPoolDeletion(b *bed) {
	pool, other := b.pool(orchestrator.NewWorkPool{}), b.pool(orchestrator.NewWorkPool{})
	lease := func() *orchestrator.Lease { l := orchestrator.NewLease("executor", 0); return &l }
	want, names := map[string]string{}, []string{}
	for _, s := range []orchestrator.State{state("SCHEDULED"), due(time.Now().Add(time.Hour)), state("RUNNING"), awaitingRetry(), state("FAILED")} {
		run := b.create(orchestrator.NewFlowRun{WorkPool: pool, State: s, Lease: lease()})
		want[run.ID] = s.Name
		if s.Name == "Scheduled" {
			want[run.ID] = "Cancelled"
		}
		names = append(names, run.ID)
	}
	bystander := b.queue(other, 0, state("SCHEDULED"))
	want[bystander] = "Scheduled"
	b.must(b.DeleteWorkPool(b.Context(), pool))
	got := map[string]string{}
	for _, id := range append(slices.Clone(names), bystander) {
		run := b.run(id)
		got[id] = run.State.Name
		if run.State.Name == "Cancelled" && (run.State.Message == "" || run.Ended.IsZero()) {
			b.Errorf("%+v", run)
		}
	}
	b.diff("runs after the deletion", want, got)

	// Nothing is queued there again.
	_, err := b.SetState(b.Context(), names[4], state("SCHEDULED"), &orchestrator.SetStateOptions{Force: true})
	b.wantErr("queue where the pool is gone", err, orchestrator.ErrNoWorkPool)
	b.wantStates(names[4], "Failed")
}

func testWorkers(b *bed) {
	ctx := b.Context()
	pool, other := b.pool(orchestrator.NewWorkPool{}), b.pool(orchestrator.NewWorkPool{})
	want := func(what string, status orchestrator.WorkPoolStatus, names ...string) {
		b.Helper()
		workers, err := b.Workers(ctx, pool)
		b.must(err)
		got := []string{}
		for _, w := range workers {
			got = append(got, w.Name)
			if age := time.Since(w.LastSeen); w.WorkPool != pool || w.Interval != 10*time.Second || age < -time.Minute || age > time.Minute {
				b.Errorf("%+v", w)
			}
		}
		p, err := b.WorkPool(ctx, pool)
		b.must(err)
		b.diff(what, append([]string{}, names...), got)
		b.diff(what, status, p.Status)
	}
	heartbeat := func(name, pool string) {
		b.Helper()
		b.must(b.Heartbeat(ctx, orchestrator.Worker{Name: name, WorkPool: pool, Interval: 10 * time.Second}))
	}
	heartbeat("elsewhere", other)
	want("nobody", orchestrator.WorkPoolNotReady)
	for _, name := range []string{"w2", "w1", "w2"} {
		heartbeat(name, pool)
	}
	want("two", orchestrator.WorkPoolReady, "w1", "w2")
	b.must(b.SignOff(ctx, orchestrator.Worker{Name: "w1", WorkPool: pool}))
	b.must(b.SignOff(ctx, orchestrator.Worker{Name: "w1", WorkPool: pool}))
	want("one", orchestrator.WorkPoolReady, "w2")
	paused := true
	b.must(b.ChangeWorkPool(ctx, pool, orchestrator.WorkPoolChange{Paused: &paused}))
	want("paused", orchestrator.WorkPoolPaused, "w2")
	for _, name := range []string{"", "a/b", "100%"} {
		if err := b.Heartbeat(ctx, orchestrator.Worker{Name: name, WorkPool: pool}); err == nil {
			b.Errorf("a worker may be named %q", name)
		}
	}
}
