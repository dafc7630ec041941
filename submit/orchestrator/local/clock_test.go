package local_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
)

func makePool(t *testing.T, o *local.Orchestrator, name string) {
	t.Helper()
	if _, err := o.CreateWorkPool(t.Context(), orchestrator.NewWorkPool{Name: name, Type: "process"}); err != nil {
		t.Fatal(err)
	}
}

// When a run is due, the wall clock says. What is due at once does not depend on it.
func TestDue(t *testing.T) {
	c := newClock()
	o := openAt(t, c)
	makePool(t, o, "local")
	queue := func(name string, due time.Time) {
		s := state(orchestrator.TypeScheduled)
		s.Timestamp, s.Scheduled = c.now(), due
		n := orchestrator.NewFlowRun{Flow: "f", Name: name, WorkPool: "local", State: s}
		if _, err := o.CreateFlowRun(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	queue("at once", time.Time{})
	queue("in five minutes", c.now().Add(5*time.Minute))
	want := func(names ...string) {
		t.Helper()
		runs, err := o.ScheduledFlowRuns(t.Context(), "local", time.Time{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range runs {
			got = append(got, r.Name)
		}
		if diff := cmp.Diff(names, got); diff != "" {
			t.Errorf("at %v (-want +got):\n%s", c.now(), diff)
		}
	}
	want("at once")
	c.jump(5*time.Minute - time.Microsecond)
	want("at once")
	c.jump(time.Microsecond)
	want("at once", "in five minutes")
	c.jump(-24 * 365 * time.Hour)
	want("at once")
	c.jump(2 * 24 * 365 * time.Hour)
	want("at once", "in five minutes")
}

func TestWorkersOffline(t *testing.T) {
	c := newClock()
	o := openAt(t, c)
	makePool(t, o, "local")
	heartbeat := func(name string, interval time.Duration) {
		t.Helper()
		if err := o.Heartbeat(t.Context(), orchestrator.Worker{Name: name, WorkPool: "local", Interval: interval}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(status orchestrator.WorkPoolStatus, workers ...orchestrator.Worker) {
		t.Helper()
		got, err := o.Workers(t.Context(), "local")
		if err != nil {
			t.Fatal(err)
		}
		pool, err := o.WorkPool(t.Context(), "local")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append([]orchestrator.Worker{}, workers...), got); diff != "" || pool.Status != status {
			t.Errorf("%s, want %s; workers (-want +got):\n%s", pool.Status, status, diff)
		}
	}
	quick := orchestrator.Worker{Name: "quick", WorkPool: "local", Interval: 2 * time.Second, LastSeen: c.now()}
	usual := orchestrator.Worker{Name: "usual", WorkPool: "local", Interval: 30 * time.Second, LastSeen: c.now()}
	heartbeat("quick", quick.Interval)
	heartbeat("usual", 0)
	want(orchestrator.WorkPoolReady, quick, usual)
	c.jump(6 * time.Second)
	want(orchestrator.WorkPoolReady, quick, usual)
	c.jump(time.Second)
	want(orchestrator.WorkPoolReady, usual)
	c.jump(-2 * time.Second)
	want(orchestrator.WorkPoolReady, quick, usual)
	c.jump(-time.Hour)
	want(orchestrator.WorkPoolNotReady)
	heartbeat("usual", 0) // forgets the other one
	c.jump(time.Hour)
	want(orchestrator.WorkPoolNotReady)
	usual.LastSeen = c.now()
	heartbeat("usual", 0)
	want(orchestrator.WorkPoolReady, usual)
	c.jump(91 * time.Second)
	want(orchestrator.WorkPoolNotReady)
}
