package orchestratortest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

func (b *bed) queue(pool string, priority int, s orchestrator.State) string {
	b.Helper()
	return b.create(orchestrator.NewFlowRun{WorkPool: pool, Priority: priority, State: s}).ID
}

// wantOffered compares what the pool offers until that moment.
func (b *bed) wantOffered(what, pool string, before time.Time, limit int, want ...string) {
	b.Helper()
	runs, err := b.ScheduledFlowRuns(b.Context(), pool, before, limit)
	b.must(err)
	if want == nil {
		want = []string{}
	}
	b.diff(what, want, ids(runs))
}

func testQueueOrder(b *bed) {
	pool, now := b.pool(orchestrator.NewWorkPool{}), time.Now()
	ago := func(d time.Duration) orchestrator.State { return due(now.Add(-d)) }
	patient := b.queue(pool, 5, ago(time.Hour))
	first := b.queue(pool, 0, ago(time.Minute))
	second := b.queue(pool, 0, ago(time.Minute)) // created later
	earlier := b.queue(pool, 0, ago(2*time.Minute))
	urgent := b.queue(pool, -1, ago(time.Second))
	atOnce := b.queue(pool, 0, state("SCHEDULED"))
	b.wantOffered("in order", pool, time.Time{}, 0, urgent, earlier, first, second, atOnce, patient)
	b.wantOffered("the first ones", pool, time.Time{}, 3, urgent, earlier, first)
	b.accept(earlier, state("PENDING"))
	b.wantOffered("after a claim", pool, time.Time{}, 2, urgent, first)
}

func testQueueOffers(b *bed) {
	pool, other, now := b.pool(orchestrator.NewWorkPool{}), b.pool(orchestrator.NewWorkPool{}), time.Now()
	later := b.queue(pool, 0, due(now.Add(time.Hour)))
	much := b.queue(pool, -9, due(now.Add(48*time.Hour)))
	atOnce := b.queue(pool, 0, state("SCHEDULED"))
	elsewhere := b.queue(other, 0, state("SCHEDULED"))
	b.create(orchestrator.NewFlowRun{State: state("SCHEDULED")}) // in no pool
	for _, s := range []orchestrator.State{state("PENDING"), state("RUNNING"), state("PAUSED"), state("COMPLETED"), awaitingRetry()} {
		lease := orchestrator.NewLease("executor", 0)
		b.create(orchestrator.NewFlowRun{WorkPool: pool, State: s, Lease: &lease})
	}
	b.wantOffered("now", pool, time.Time{}, 0, atOnce)
	b.wantOffered("now, elsewhere", other, time.Time{}, 0, elsewhere)
	b.wantOffered("in two hours", pool, now.Add(2*time.Hour), 0, atOnce, later)
	b.wantOffered("in two days", pool, now.Add(49*time.Hour), 0, much, atOnce, later)

	runs, err := b.ScheduledFlowRuns(b.Context(), pool, time.Time{}, 1)
	b.must(err)
	b.diff("as offered and as read", b.run(atOnce), runs[0])

	nowhere := unique("pool")
	_, err = b.ScheduledFlowRuns(b.Context(), nowhere, time.Time{}, 0)
	b.wantErr("a pool that is not there", err, orchestrator.ErrNoWorkPool)
	_, err = b.CreateFlowRun(b.Context(), orchestrator.NewFlowRun{Flow: "train", WorkPool: nowhere, State: state("SCHEDULED")})
	b.wantErr("queued where no pool is", err, orchestrator.ErrNoWorkPool)
}

// wantHeldUp proposes a claim that the pool's state does not allow now.
func (b *bed) wantHeldUp(what, id string) {
	b.Helper()
	lease := orchestrator.NewLease("launcher", 0)
	out, err := b.SetState(b.Context(), id, state("PENDING"), &orchestrator.SetStateOptions{Lease: &lease})
	b.must(err)
	if out.Status != orchestrator.Rejected || out.Reason == "" || out.State.Type != orchestrator.TypeScheduled {
		b.Errorf("%s: %+v", what, out)
	}
	b.wantErr(what+": lease", b.Renew(b.Context(), lease), orchestrator.ErrLeaseLost)
	b.wantStates(id, "Scheduled")
}

func testPausedPool(b *bed) {
	pool := b.pool(orchestrator.NewWorkPool{Paused: true})
	id := b.queue(pool, 0, state("SCHEDULED"))
	b.wantOffered("paused", pool, time.Time{}, 0)
	b.wantHeldUp("paused", id)
	paused := false
	b.must(b.ChangeWorkPool(b.Context(), pool, orchestrator.WorkPoolChange{Paused: &paused}))
	b.wantOffered("resumed", pool, time.Time{}, 0, id)
	b.accept(id, state("PENDING"))
	paused = true
	b.must(b.ChangeWorkPool(b.Context(), pool, orchestrator.WorkPoolChange{Paused: &paused}))
	b.accept(id, state("RUNNING")) // what goes on goes on
}

func testPoolLimit(b *bed) {
	limit := 3
	pool := b.pool(orchestrator.NewWorkPool{ConcurrencyLimit: &limit})
	var queued []string
	for range 5 {
		queued = append(queued, b.queue(pool, 0, state("SCHEDULED")))
	}
	wantActive := func(want int) {
		b.Helper()
		p, err := b.WorkPool(b.Context(), pool)
		b.must(err)
		b.diff("active slots", want, p.ActiveSlots)
	}
	wantActive(0)
	b.wantOffered("an empty pool", pool, time.Time{}, 0, queued[:3]...)
	b.wantOffered("one of them", pool, time.Time{}, 1, queued[0])
	b.accept(queued[0], state("PENDING"))
	// Who launches by himself is counted, and not held up.
	direct := func(s orchestrator.State) string {
		lease := orchestrator.NewLease("submitter", 0)
		return b.create(orchestrator.NewFlowRun{WorkPool: pool, State: s, Lease: &lease, Policy: orchestrator.Policy{Retries: 1}}).ID
	}
	retried := direct(state("RUNNING"))
	if out := b.propose(retried, state("FAILED")); out.State.Name != orchestrator.NameAwaitingRetry {
		b.Errorf("failed: %+v", out)
	}
	wantActive(2)
	b.wantOffered("room for one", pool, time.Time{}, 0, queued[1])
	cancelling := direct(state("CANCELLING"))
	direct(state("PENDING"))
	wantActive(4)
	b.wantOffered("no room", pool, time.Time{}, 0)
	b.wantHeldUp("no room", queued[1])
	b.accept(cancelling, state("CANCELLED"))
	b.accept(retried, state("CRASHED"))
	wantActive(2)
	b.wantOffered("room again", pool, time.Time{}, 0, queued[1])
	b.accept(queued[1], state("PENDING"))
	b.accept(queued[1], named("PENDING", orchestrator.NameSubmitting)) // claimed it is already

	for _, test := range []struct {
		limit   int
		offered []string
	}{{4, queued[2:3]}, {0, nil}, {-1, queued[2:]}} {
		b.must(b.ChangeWorkPool(b.Context(), pool, orchestrator.WorkPoolChange{ConcurrencyLimit: &test.limit}))
		b.wantOffered("after a change", pool, time.Time{}, 0, test.offered...)
	}
}

func testConcurrentLimit(b *bed) {
	limit := 7
	pool := b.pool(orchestrator.NewWorkPool{ConcurrencyLimit: &limit})
	const runs = 20
	var accepted, rejected atomic.Int32
	var wg sync.WaitGroup
	for range runs {
		id := b.queue(pool, 0, state("SCHEDULED"))
		wg.Go(func() {
			lease := orchestrator.NewLease("launcher", 0)
			out, err := b.SetState(b.Context(), id, state("PENDING"), &orchestrator.SetStateOptions{Lease: &lease})
			switch {
			case err != nil:
				b.Error(err)
			case out.Status == orchestrator.Accepted:
				accepted.Add(1)
			case out.Status == orchestrator.Rejected:
				rejected.Add(1)
			}
		})
	}
	wg.Wait()
	b.diff("accepted, rejected", []int32{7, 13}, []int32{accepted.Load(), rejected.Load()})
}
