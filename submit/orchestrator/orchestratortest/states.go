package orchestratortest

import (
	"sync"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// testTransitions: Prefect's rules for flow runs without a deployment.
func testTransitions(b *bed) {
	const submitting = orchestrator.NameSubmitting
	accepted, rejected, aborted := orchestrator.Accepted, orchestrator.Rejected, orchestrator.Aborted
	retrying, timedOut := named("RUNNING", orchestrator.NameRetrying), named("FAILED", orchestrator.NameTimedOut)
	for _, test := range []struct {
		from, to orchestrator.State
		status   orchestrator.Status
		holds    string
	}{
		{state("SCHEDULED"), state("PENDING"), accepted, "Pending"},
		{state("SCHEDULED"), state("CRASHED"), accepted, "Crashed"},
		{state("SCHEDULED"), state("CANCELLED"), accepted, "Cancelled"},
		{state("SCHEDULED"), state("CANCELLING"), rejected, "Cancelled"},
		{due(time.Now().Add(time.Hour)), state("PENDING"), accepted, "Pending"},
		{state("PENDING"), state("RUNNING"), accepted, "Running"},
		{state("PENDING"), state("SCHEDULED"), accepted, "Scheduled"},
		{state("PENDING"), named("PENDING", submitting), accepted, submitting},
		{state("PENDING"), state("PENDING"), aborted, "Pending"},
		{named("PENDING", submitting), state("PENDING"), aborted, submitting},
		{named("PENDING", submitting), named("PENDING", submitting), aborted, submitting},
		{named("PENDING", submitting), state("RUNNING"), accepted, "Running"},
		{state("PENDING"), state("CRASHED"), accepted, "Crashed"},
		{state("PENDING"), state("FAILED"), accepted, "Failed"},
		{state("PENDING"), state("CANCELLING"), accepted, "Cancelling"},
		{state("RUNNING"), state("PENDING"), aborted, "Running"},
		{state("RUNNING"), named("PENDING", submitting), aborted, "Running"},
		{state("RUNNING"), state("COMPLETED"), accepted, "Completed"},
		{state("RUNNING"), state("FAILED"), accepted, "Failed"},
		{state("RUNNING"), timedOut, accepted, "TimedOut"},
		{state("RUNNING"), state("CRASHED"), accepted, "Crashed"},
		{state("RUNNING"), state("CANCELLING"), accepted, "Cancelling"},
		{state("RUNNING"), state("CANCELLED"), accepted, "Cancelled"},
		{awaitingRetry(), retrying, accepted, "Retrying"},
		{awaitingRetry(), state("PENDING"), aborted, "AwaitingRetry"},
		{awaitingRetry(), state("CANCELLING"), accepted, "Cancelling"},
		{awaitingRetry(), state("CRASHED"), accepted, "Crashed"},
		{state("CANCELLING"), state("CANCELLED"), accepted, "Cancelled"},
		{state("CANCELLING"), state("CANCELLING"), rejected, "Cancelling"},
		{state("CANCELLING"), state("PENDING"), rejected, "Cancelling"},
		{state("CANCELLING"), state("RUNNING"), rejected, "Cancelling"},
		{state("CANCELLING"), state("COMPLETED"), rejected, "Cancelling"},
		{state("CANCELLING"), state("FAILED"), rejected, "Cancelling"},
		{state("CANCELLING"), state("CRASHED"), rejected, "Cancelling"},
		{state("COMPLETED"), state("CANCELLING"), aborted, "Completed"},
		{state("COMPLETED"), state("CRASHED"), aborted, "Completed"},
		{state("COMPLETED"), state("SCHEDULED"), aborted, "Completed"},
		{timedOut, state("RUNNING"), aborted, "TimedOut"},
		{state("FAILED"), state("FAILED"), aborted, "Failed"},
		{state("CRASHED"), state("COMPLETED"), aborted, "Crashed"},
		{state("CANCELLED"), state("PENDING"), aborted, "Cancelled"},
		{state("CANCELLED"), state("CANCELLING"), aborted, "Cancelled"},
	} {
		// Two rows may share a state, and two runs cannot.
		from, to := orchestrator.NewNamedState(test.from.Type, test.from.Name, "before"), orchestrator.NewNamedState(test.to.Type, test.to.Name, "after")
		from.Scheduled = test.from.Scheduled
		what := from.Name + " to " + to.Name
		id, _ := b.in(from)
		out := b.propose(id, to)
		b.diff(what, []string{string(test.status), test.holds}, []string{string(out.Status), out.State.Name})
		if (out.Reason == "") != (test.status == accepted) {
			b.Errorf("%s: %s with reason %q", what, out.Status, out.Reason)
		}
		b.diff(what+": what holds", out.State, b.run(id).State, micro)
	}
}

func testSameStateAgain(b *bed) {
	id, _ := b.in(state("PENDING"))
	running, completed := state("RUNNING"), state("COMPLETED")
	b.accept(id, running)
	b.accept(id, running)
	b.accept(id, completed)
	b.accept(id, completed)
	if out := b.propose(id, running); out.Status != orchestrator.Rejected || out.State.ID != completed.ID {
		b.Errorf("a state that another one followed: %+v", out)
	}
	b.wantStates(id, "Pending", "Running", "Completed")
	if n := b.run(id).RunCount; n != 1 {
		b.Errorf("run count %d", n)
	}

	// Who claims again after a lost answer has claimed, with its lease.
	id, _ = b.in(state("SCHEDULED"))
	pending, lease := state("PENDING"), orchestrator.NewLease("launcher", 0)
	for range 2 {
		out, err := b.SetState(b.Context(), id, pending, &orchestrator.SetStateOptions{Lease: &lease})
		b.must(err)
		if out.Status != orchestrator.Accepted {
			b.Errorf("claimed: %+v", out)
		}
	}
	b.must(b.Renew(b.Context(), lease))

	// What was written in place of the proposed state is so once.
	id, _ = b.in(state("SCHEDULED"))
	cancelling := state("CANCELLING")
	for range 2 {
		if out := b.propose(id, cancelling); out.Status != orchestrator.Rejected || out.State.Type != orchestrator.TypeCancelled {
			b.Errorf("cancelled: %+v", out)
		}
	}
	b.wantStates(id, "Scheduled", "Cancelled")
	lease = orchestrator.NewLease("executor", 0)
	id = b.create(orchestrator.NewFlowRun{State: state("RUNNING"), Policy: orchestrator.Policy{Retries: 1}, Lease: &lease}).ID
	failed := state("FAILED")
	for range 2 {
		if out := b.propose(id, failed); out.Status != orchestrator.Rejected || out.State.Name != orchestrator.NameAwaitingRetry {
			b.Errorf("failed: %+v", out)
		}
	}
	b.wantStates(id, "Running", "AwaitingRetry")
}

func testOneClaims(b *bed) {
	pool := b.pool(orchestrator.NewWorkPool{})
	id := b.create(orchestrator.NewFlowRun{WorkPool: pool, State: state("SCHEDULED")}).ID
	const claimants = 20
	leases := make([]orchestrator.Lease, claimants)
	outcomes := make([]*orchestrator.Outcome, claimants)
	var wg sync.WaitGroup
	for i := range claimants {
		wg.Go(func() {
			leases[i] = orchestrator.NewLease("launcher", 0)
			out, err := b.SetState(b.Context(), id, state("PENDING"), &orchestrator.SetStateOptions{Lease: &leases[i]})
			if err != nil {
				b.Error(err)
			}
			outcomes[i] = out
		})
	}
	wg.Wait()
	won := 0
	for i, out := range outcomes {
		if out == nil {
			continue
		}
		if out.Status == orchestrator.Accepted {
			won++
			b.must(b.Renew(b.Context(), leases[i]))
		} else {
			b.wantErr("the lease of one that did not claim", b.Renew(b.Context(), leases[i]), orchestrator.ErrLeaseLost)
		}
	}
	if won != 1 {
		b.Errorf("%d of %d claimed", won, claimants)
	}
	b.wantStates(id, "Scheduled", "Pending")
}

func testOneEnds(b *bed) {
	id, _ := b.in(state("RUNNING"))
	const parties = 12
	var mu sync.Mutex
	won := []string{}
	var wg sync.WaitGroup
	for i := range parties {
		end := state([]orchestrator.StateType{"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}[i%4])
		wg.Go(func() {
			out, err := b.SetState(b.Context(), id, end, nil)
			if err != nil {
				b.Error(err)
				return
			}
			if out.Status == orchestrator.Accepted {
				mu.Lock()
				defer mu.Unlock()
				won = append(won, end.ID)
			}
		})
	}
	wg.Wait()
	b.diff("ends", won, []string{b.run(id).State.ID})
}

func testRetries(b *bed) {
	pool, delay := b.pool(orchestrator.NewWorkPool{}), 90*time.Second
	if b.KeepsToSchedule {
		delay = time.Second
	}
	id := b.create(orchestrator.NewFlowRun{WorkPool: pool, Policy: orchestrator.Policy{Retries: 2, RetryDelay: delay}, State: state("SCHEDULED")}).ID
	lease := orchestrator.NewLease("executor", 0)
	_, err := b.SetState(b.Context(), id, state("PENDING"), &orchestrator.SetStateOptions{Lease: &lease})
	b.must(err)
	running := state("RUNNING")
	b.accept(id, running)
	for i, failure := range []orchestrator.State{state("FAILED"), named("FAILED", orchestrator.NameTimedOut)} {
		out := b.propose(id, failure)
		want := failure
		want.Type, want.Name, want.Scheduled = orchestrator.TypeScheduled, orchestrator.NameAwaitingRetry, failure.Timestamp.Add(delay)
		if b.OwnReplacements {
			want.ID = out.State.ID
		}
		b.diff("what holds", want, out.State, b.proposed())
		if out.Status != orchestrator.Rejected || out.Reason == "" {
			b.Errorf("failed: %+v", out)
		}
		run := b.run(id)
		b.diff("run", []any{want, i + 1, true}, []any{run.State, run.RunCount, run.Ended.IsZero()}, b.proposed())
		offered, err := b.ScheduledFlowRuns(b.Context(), pool, time.Now().Add(time.Hour), 0)
		b.must(err)
		b.diff("offered", []string{}, ids(offered))
		b.must(b.Renew(b.Context(), lease))
		b.accept(id, named("RUNNING", orchestrator.NameRetrying))
	}
	states, err := b.States(b.Context(), id)
	b.must(err)
	if run := b.run(id); run.RunCount != 3 || run.Started.Sub(states[2].Timestamp).Abs() > time.Microsecond {
		b.Errorf("run count %d, first run at %v, want %v", run.RunCount, run.Started, states[2].Timestamp)
	}
	b.accept(id, state("FAILED"))
	b.wantErr("the lease", b.Renew(b.Context(), lease), orchestrator.ErrLeaseLost)
	b.wantStates(id, "Scheduled", "Pending", "Running", "AwaitingRetry", "Retrying", "AwaitingRetry", "Retrying", "Failed")
}

// testNoRetries: a run is not retried that did not run, or did not fail by itself.
func testNoRetries(b *bed) {
	for _, test := range []struct{ from, end orchestrator.StateType }{
		{"PENDING", "FAILED"}, {"RUNNING", "CRASHED"}, {"RUNNING", "CANCELLED"}, {"RUNNING", "COMPLETED"},
	} {
		lease := orchestrator.NewLease("executor", 0)
		b.accept(b.create(orchestrator.NewFlowRun{Policy: orchestrator.Policy{Retries: 3}, State: state(test.from), Lease: &lease}).ID, state(test.end))
	}
}

func testCancellation(b *bed) {
	id, _ := b.in(due(time.Now().Add(time.Hour)))
	if out := b.propose(id, state("CANCELLING")); out.Status != orchestrator.Rejected || out.State.Type != orchestrator.TypeCancelled {
		b.Errorf("not yet launched: %+v", out)
	}
	if b.run(id).Ended.IsZero() {
		b.Error("a run that was cancelled at once has not ended")
	}
	for _, s := range []orchestrator.State{state("PENDING"), state("RUNNING"), awaitingRetry()} {
		id, lease := b.in(s)
		b.accept(id, state("CANCELLING"))
		b.must(b.Renew(b.Context(), lease)) // who looks after it has to stop it
		for _, late := range []orchestrator.StateType{"RUNNING", "FAILED", "COMPLETED"} {
			if out := b.propose(id, state(late)); out.Status != orchestrator.Rejected || out.State.Type != orchestrator.TypeCancelling {
				b.Errorf("%s while it is being cancelled: %+v", late, out)
			}
		}
		b.accept(id, state("CANCELLED"))
		b.wantStates(id, s.Name, "Cancelling", "Cancelled")
	}
}

func testForce(b *bed) {
	pool := b.pool(orchestrator.NewWorkPool{Paused: true})
	force := func(id string, s orchestrator.State, lease *orchestrator.Lease) {
		b.Helper()
		out, err := b.SetState(b.Context(), id, s, &orchestrator.SetStateOptions{Force: true, Lease: lease})
		b.must(err)
		if out.Status != orchestrator.Accepted || out.State.ID != s.ID {
			b.Errorf("%s: %+v", s.Name, out)
		}
	}
	id := b.create(orchestrator.NewFlowRun{WorkPool: pool, State: state("COMPLETED")}).ID
	b.must(b.SetInfrastructure(b.Context(), id, "4711"))
	lease := orchestrator.NewLease("launcher", 0)
	force(id, state("PENDING"), &lease)
	b.must(b.Renew(b.Context(), lease))
	if run := b.run(id); run.Infrastructure != "" || !run.Ended.IsZero() {
		b.Errorf("launched anew: infrastructure %q, ended %v", run.Infrastructure, run.Ended)
	}
	b.must(b.SetInfrastructure(b.Context(), id, "4712"))
	failed := state("FAILED")
	force(id, failed, nil)
	force(id, failed, nil)
	b.diff("infrastructure of one that has ended", "4712", b.run(id).Infrastructure)
	scheduled := state("SCHEDULED")
	for _, after := range []string{lease.ID, failed.ID, failed.ID} { // not that one, that one, that one again
		out, err := b.SetState(b.Context(), id, scheduled, &orchestrator.SetStateOptions{Force: true, Follows: after})
		b.must(err)
		status, holds := orchestrator.Accepted, scheduled.ID
		if after == lease.ID {
			status, holds = orchestrator.Rejected, failed.ID
		}
		if out.Status != status || out.State.ID != holds {
			b.Errorf("after %s: %+v", after, out)
		}
	}
	if run := b.run(id); run.Infrastructure != "" || !run.Ended.IsZero() {
		b.Errorf("queued anew: infrastructure %q, ended %v", run.Infrastructure, run.Ended)
	}
	paused := false
	b.must(b.ChangeWorkPool(b.Context(), pool, orchestrator.WorkPoolChange{Paused: &paused}))
	offered, err := b.ScheduledFlowRuns(b.Context(), pool, time.Time{}, 0)
	b.must(err)
	b.diff("offered", []string{id}, ids(offered))
	b.wantStates(id, "Completed", "Pending", "Failed", "Scheduled")
}

// Of several who want a run to go on from the state that they saw, one succeeds.
func testFollows(b *bed) {
	id, _ := b.in(state("FAILED"))
	seen := b.run(id).State
	const several = 8
	outcomes := make([]*orchestrator.Outcome, several)
	errs := make([]error, several)
	leases := make([]orchestrator.Lease, several)
	var all sync.WaitGroup
	for i := range several {
		leases[i] = orchestrator.NewLease("launcher", 0)
		all.Go(func() {
			opts := &orchestrator.SetStateOptions{Force: true, Follows: seen.ID, Lease: &leases[i]}
			outcomes[i], errs[i] = b.SetState(b.Context(), id, state("PENDING"), opts)
		})
	}
	all.Wait()
	accepted := 0
	for i, out := range outcomes {
		b.must(errs[i])
		want := orchestrator.ErrLeaseLost
		if out.Status == orchestrator.Accepted {
			accepted++
			want = nil
		} else if out.Status != orchestrator.Rejected || out.State.Type != "PENDING" || out.Reason == "" {
			b.Errorf("who comes too late: %+v", out)
		}
		b.wantErr("the lease", b.Renew(b.Context(), leases[i]), want)
	}
	if accepted != 1 {
		b.Errorf("%d were accepted", accepted)
	}
	b.wantStates(id, "Failed", "Pending")
}
