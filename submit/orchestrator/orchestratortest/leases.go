package orchestratortest

import (
	"slices"
	"sync"
	"sync/atomic"
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

// A run whose job may go on without those who launched it is left for others to take up, of whom one
// does.
func testAbandonment(b *bed) {
	ctx := b.Context()
	elsewhere, here := b.pool(orchestrator.NewWorkPool{Type: "docker"}), b.pool(orchestrator.NewWorkPool{})
	launched := func(pool, infrastructure string, s orchestrator.State) (string, orchestrator.Lease) {
		lease := orchestrator.NewLease("launcher", 0)
		id := b.create(orchestrator.NewFlowRun{WorkPool: pool, State: s, Lease: &lease}).ID
		if infrastructure != "" {
			b.must(b.SetInfrastructure(ctx, id, infrastructure))
		}
		return id, lease
	}
	running, first := launched(elsewhere, "job", state("RUNNING"))
	cancelling, second := launched(elsewhere, "job", state("CANCELLING"))
	process, third := launched(here, "4711", state("RUNNING"))
	unlaunched, fourth := launched(elsewhere, "", state("PENDING"))
	wantAbandoned := func(what string, want bool, ids ...string) {
		b.Helper()
		_, err := b.EndLost(ctx)
		b.must(err)
		all, err := b.Abandoned(ctx)
		b.must(err)
		for _, id := range ids {
			if slices.Contains(all, id) != want {
				b.Errorf("%s: %s is abandoned: %t, want %t", what, id, !want, want)
			}
		}
	}
	wantAbandoned("somebody looks after them", false, running, cancelling, process, unlaunched)
	if taken, err := b.TakeUp(ctx, running, orchestrator.NewLease("waiter", 0)); taken || err != nil {
		b.Errorf("taken up while somebody looks after it: %t, %v", taken, err)
	}
	for _, lease := range []orchestrator.Lease{first, second, third, fourth} {
		b.must(b.Release(ctx, lease))
	}
	wantAbandoned("their jobs may go on", true, running, cancelling)
	wantAbandoned("they have no job that would", false, process, unlaunched)
	for id, want := range map[string]string{running: "Running", cancelling: "Cancelling", process: "Crashed", unlaunched: "Crashed"} {
		b.diff("state", want, b.run(id).State.Name)
	}

	var taken atomic.Int64
	var mine orchestrator.Lease
	for round := 0; taken.Load() == 0 && round < 20; round++ { // where all were refused, they come back
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				lease := orchestrator.NewLease("waiter", 0)
				ok, err := b.TakeUp(ctx, running, lease)
				if err != nil {
					b.Error(err)
				}
				if ok {
					taken.Add(1)
					mine = lease
				}
			})
		}
		wg.Wait()
	}
	if taken.Load() != 1 {
		b.Fatalf("%d took it up", taken.Load())
	}
	wantAbandoned("it was taken up", false, running)
	b.must(b.Renew(ctx, mine))
	b.must(b.Release(ctx, mine))
	wantAbandoned("who took it up has left it", true, running)
	b.accept(running, state("COMPLETED"))
	wantAbandoned("it has ended", false, running)
	if taken, err := b.TakeUp(ctx, running, orchestrator.NewLease("waiter", 0)); taken || err != nil {
		b.Errorf("taken up after its end: %t, %v", taken, err)
	}
	b.accept(cancelling, state("CANCELLED"))
}
