package orchestratortest

import (
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

func testLeases(b *bed) {
	ctx := b.Context()
	id, submitter := b.in(state("PENDING"))
	executor := orchestrator.NewLease("executor", time.Minute)
	b.must(b.Hold(ctx, id, executor))
	b.must(b.Release(ctx, submitter))
	b.wantErr("renewed after it was given up", b.Renew(ctx, submitter), orchestrator.ErrLeaseLost)
	b.must(b.Release(ctx, submitter))
	_, err := b.EndLost(ctx)
	b.must(err)
	b.must(b.Renew(ctx, executor))
	b.accept(id, state("RUNNING"))
	b.must(b.Renew(ctx, executor))
	b.accept(id, state("COMPLETED"))
	b.wantErr("renewed after the end", b.Renew(ctx, executor), orchestrator.ErrLeaseLost)
	b.wantErr("taken after the end", b.Hold(ctx, id, orchestrator.NewLease("executor", 0)), orchestrator.ErrLeaseLost)

	// Who gives a run back to the queue has no part in it any more.
	id, submitter = b.in(state("PENDING"))
	b.accept(id, state("SCHEDULED"))
	b.wantErr("renewed after the run was queued", b.Renew(ctx, submitter), orchestrator.ErrLeaseLost)

	// A state that was not accepted brings no lease.
	id, _ = b.in(state("RUNNING"))
	late := orchestrator.NewLease("launcher", 0)
	_, err = b.SetState(ctx, id, state("PENDING"), &orchestrator.SetStateOptions{Lease: &late})
	b.must(err)
	b.wantErr("the lease of one that was too late", b.Renew(ctx, late), orchestrator.ErrLeaseLost)
}

func testLosses(b *bed) {
	lost := map[string]string{}
	for _, test := range []struct {
		state orchestrator.State
		end   string
	}{
		{state("PENDING"), "Crashed"}, {state("RUNNING"), "Crashed"}, {awaitingRetry(), "Crashed"}, {state("CANCELLING"), "Cancelled"},
	} {
		id, lease := b.in(test.state)
		b.must(b.Release(b.Context(), lease))
		lost[id] = test.end
	}
	stay := map[string]string{}
	for _, s := range []orchestrator.State{
		state("PENDING"), state("RUNNING"), awaitingRetry(), state("CANCELLING"), // somebody looks after these
		state("SCHEDULED"), state("PAUSED"), state("COMPLETED"), // nobody has to
	} {
		id, _ := b.in(s)
		stay[id] = s.Name
	}
	n, err := b.EndLost(b.Context())
	b.must(err)
	if n < len(lost) {
		b.Errorf("%d runs were ended, want %d", n, len(lost))
	}
	for id, end := range lost {
		run := b.run(id)
		b.diff("end", end, run.State.Name)
		if run.State.Message == "" || run.Ended.IsZero() {
			b.Errorf("message %q, ended %v", run.State.Message, run.Ended)
		}
	}
	for id, name := range stay {
		b.diff("stays", name, b.run(id).State.Name)
	}
}
