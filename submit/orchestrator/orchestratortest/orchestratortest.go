// Package orchestratortest is the test that every backend passes: what package orchestrator
// promises, seen from outside.
//
//	func TestBackend(t *testing.T) {
//		orchestratortest.Run(t, func(t *testing.T) orchestratortest.Backend { return open(t) }, nil)
//	}
//
// A backend may be one that others use at the same time: the test looks only at what it made, and
// its names are its own. What depends on a clock or on other processes is left to a backend's own
// tests. A backend that is an [orchestrator.Assigner] is told of bundles after it made the runs.
package orchestratortest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

// Backend is all that a backend does.
type Backend interface {
	orchestrator.Creator
	orchestrator.StateSetter
	orchestrator.Reader
	orchestrator.StateReader
	orchestrator.Finder
	orchestrator.Deleter
	orchestrator.Leaser
	orchestrator.LossEnder
	orchestrator.Resumer
	orchestrator.Launched
	orchestrator.Queue
	orchestrator.LogWriter
	orchestrator.LogReader
	orchestrator.WorkPoolReader
	orchestrator.WorkPoolWriter
	orchestrator.WorkerRegistry
}

// Options are what a backend cannot do as the others do; nil is nothing.
type Options struct {
	// OwnTimes: states have the times at which they were written, instead of those that they were
	// proposed with.
	OwnTimes bool
	// OwnReplacements: a state that is written in place of the proposed one has an ID of its own.
	OwnReplacements bool
	// KeepsToSchedule: RUNNING is not accepted, and SetState does not return, before a run is due.
	KeepsToSchedule bool
	// LogsByTime: logs are in the order of their times, also where a clock went back.
	LogsByTime bool
}

// Run runs all tests, each on a backend that open returns and closes at the test's end.
func Run(t *testing.T, open func(t *testing.T) Backend, opts *Options) {
	if opts == nil {
		opts = &Options{}
	}
	for _, test := range []struct {
		name string
		run  func(b *bed)
	}{
		{"Life", testLife},
		{"Defaults", testDefaults},
		{"NotFound", testNotFound},
		{"Listing", testListing},
		{"CurrentStates", testCurrentStates},
		{"Deletion", testDeletion},
		{"Transitions", testTransitions},
		{"SameStateAgain", testSameStateAgain},
		{"OneClaims", testOneClaims},
		{"OneEnds", testOneEnds},
		{"Retries", testRetries},
		{"NoRetries", testNoRetries},
		{"Cancellation", testCancellation},
		{"Force", testForce},
		{"Follows", testFollows},
		{"Leases", testLeases},
		{"Losses", testLosses},
		{"Abandonment", testAbandonment},
		{"QueueOrder", testQueueOrder},
		{"QueueOffers", testQueueOffers},
		{"PausedPool", testPausedPool},
		{"PoolLimit", testPoolLimit},
		{"PoolLimitUnderConcurrentClaims", testConcurrentLimit},
		{"WorkPools", testWorkPools},
		{"WorkPoolChanges", testWorkPoolChanges},
		{"WorkPoolNames", testWorkPoolNames},
		{"DefaultWorkPool", testDefaultWorkPool},
		{"WorkPoolDeletion", testWorkPoolDeletion},
		{"Workers", testWorkers},
		{"Logs", testLogs},
		{"LogMessages", testLogMessages},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(&bed{T: t, Backend: open(t), Options: opts}) })
	}
}

// bed is a backend with what the tests do to it over and over. What it does has to succeed.
type bed struct {
	*testing.T
	Backend
	*Options
}

// micro: a backend keeps microseconds.
var micro = cmpopts.EquateApproxTime(time.Microsecond)

// proposed compares the times that states were proposed with.
func (b *bed) proposed() cmp.Option {
	if b.OwnTimes {
		return cmpopts.EquateApproxTime(time.Minute)
	}
	return micro
}

// assigner is the backend if it gives ids itself, else nil.
func (b *bed) assigner() orchestrator.Assigner {
	a, _ := b.Backend.(orchestrator.Assigner)
	return a
}

func (b *bed) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bed) wantErr(what string, err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func (b *bed) diff(what string, want, got any, opts ...cmp.Option) {
	b.Helper()
	if diff := cmp.Diff(want, got, opts...); diff != "" {
		b.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func unique(name string) string { return name + "-" + uuid.NewString()[:13] }

// pool makes a work pool of its own.
func (b *bed) pool(n orchestrator.NewWorkPool) string {
	b.Helper()
	n.Name = unique("pool")
	if n.Type == "" {
		n.Type = orchestrator.PlatformProcess
	}
	_, err := b.CreateWorkPool(b.Context(), n)
	b.must(err)
	b.Cleanup(func() { b.DeleteWorkPool(context.WithoutCancel(b.Context()), n.Name) })
	return n.Name
}

func (b *bed) create(n orchestrator.NewFlowRun) *orchestrator.FlowRun {
	b.Helper()
	if n.Flow == "" {
		n.Flow = "train"
	}
	run, err := b.CreateFlowRun(b.Context(), n)
	b.must(err)
	return run
}

// in creates a run in this state, with somebody who looks after it.
func (b *bed) in(s orchestrator.State) (id string, lease orchestrator.Lease) {
	b.Helper()
	lease = orchestrator.NewLease("submitter", 0)
	n := orchestrator.NewFlowRun{State: s}
	if s.UnderWay() {
		n.Lease = &lease
	}
	id = b.create(n).ID
	if s.AwaitsRetry() { // it ran, so it was launched
		b.must(b.SetInfrastructure(b.Context(), id, "4711"))
	}
	return id, lease
}

func (b *bed) propose(id string, s orchestrator.State) *orchestrator.Outcome {
	b.Helper()
	out, err := b.SetState(b.Context(), id, s, nil)
	b.must(err)
	return out
}

// accept proposes the state, which has to be accepted.
func (b *bed) accept(id string, s orchestrator.State) {
	b.Helper()
	if out := b.propose(id, s); out.Status != orchestrator.Accepted || out.State.ID != s.ID {
		b.Fatalf("%s: %+v", s.Name, out)
	}
}

func (b *bed) run(id string) *orchestrator.FlowRun {
	b.Helper()
	run, err := b.FlowRun(b.Context(), id)
	b.must(err)
	return run
}

// wantStates compares the names of all states that the run had.
func (b *bed) wantStates(id string, want ...string) {
	b.Helper()
	states, err := b.States(b.Context(), id)
	b.must(err)
	got := []string{}
	for _, s := range states {
		got = append(got, s.Name)
	}
	b.diff("states", want, got)
}

func state(t orchestrator.StateType) orchestrator.State { return orchestrator.NewState(t, "why") }

func named(t orchestrator.StateType, name string) orchestrator.State {
	return orchestrator.NewNamedState(t, name, "why")
}

func awaitingRetry() orchestrator.State {
	return named(orchestrator.TypeScheduled, orchestrator.NameAwaitingRetry)
}

// due is SCHEDULED for that moment.
func due(at time.Time) orchestrator.State {
	s := state(orchestrator.TypeScheduled)
	s.Scheduled = at.UTC()
	return s
}

func ids(runs []*orchestrator.FlowRun) []string {
	list := []string{}
	for _, r := range runs {
		list = append(list, r.ID)
	}
	return list
}
