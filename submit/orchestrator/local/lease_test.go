package local_test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
)

// clock is a wall clock that the test sets.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time { return c.at }

func (c *clock) jump(d time.Duration) { c.at = c.at.Add(d) }

// openAt opens a file whose users know nothing of each other's processes.
func openAt(t *testing.T, c *clock) *local.Orchestrator {
	t.Helper()
	o := open(t, filepath.Join(t.TempDir(), "db"))
	o.SetClock(c.now)
	o.SetProcess("")
	return o
}

func createHeld(t *testing.T, o *local.Orchestrator) (string, orchestrator.Lease) {
	t.Helper()
	lease := orchestrator.NewLease("submitter", 0)
	run, err := o.CreateFlowRun(t.Context(), orchestrator.NewFlowRun{Flow: "f", State: state(orchestrator.TypePending), Lease: &lease})
	if err != nil {
		t.Fatal(err)
	}
	return run.ID, lease
}

func endLost(t *testing.T, o *local.Orchestrator, want int) {
	t.Helper()
	if got, err := o.EndLost(t.Context()); err != nil || got != want {
		t.Fatalf("ended %d, error %v; want %d", got, err, want)
	}
}

func wantState(t *testing.T, o *local.Orchestrator, id string, typ orchestrator.StateType, message string) {
	t.Helper()
	run, err := o.FlowRun(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{string(typ), message}, []string{string(run.State.Type), run.State.Message}); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
}

func renew(t *testing.T, o *local.Orchestrator, l orchestrator.Lease) {
	t.Helper()
	if err := o.Renew(t.Context(), l); err != nil {
		t.Fatal(err)
	}
}

func TestLeaseExpires(t *testing.T) {
	c := newClock()
	o := openAt(t, c)
	id, lease := createHeld(t, o)
	for range 10 {
		c.jump(25 * time.Second)
		endLost(t, o, 0)
		renew(t, o, lease)
	}
	c.jump(31 * time.Second)
	endLost(t, o, 0) // doubted
	c.jump(9 * time.Second)
	endLost(t, o, 0)
	wantState(t, o, id, orchestrator.TypePending, "why")
	c.jump(2 * time.Second)
	endLost(t, o, 1)
	endLost(t, o, 0)
	wantState(t, o, id, orchestrator.TypeCrashed, "nobody looks after the run any more: the submitter has given no sign of life since 2026-03-01T12:04:10Z")
	if err := o.Renew(t.Context(), lease); !errors.Is(err, orchestrator.ErrLeaseLost) {
		t.Errorf("renewed after the end: %v", err)
	}
	if err := o.Hold(t.Context(), id, orchestrator.NewLease("executor", 0)); !errors.Is(err, orchestrator.ErrLeaseLost) {
		t.Errorf("taken after the end: %v", err)
	}
}

// Whichever way the clock jumps, a holder that lives keeps its run, and one that does not loses
// it.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 24 * 365 * time.Hour, -24 * 365 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			c := newClock()
			o := openAt(t, c)
			id, lease := createHeld(t, o)
			c.jump(jump)
			endLost(t, o, 0)
			c.jump(5 * time.Second)
			endLost(t, o, 0)
			renew(t, o, lease)
			c.jump(11 * time.Second)
			endLost(t, o, 0)
			renew(t, o, lease)
			wantState(t, o, id, orchestrator.TypePending, "why")

			// It jumps back while a doubt is noted.
			c.jump(jump)
			endLost(t, o, 0)
			c.jump(-2 * jump.Abs())
			endLost(t, o, 0)
			c.jump(5 * time.Second)
			endLost(t, o, 0)
			renew(t, o, lease)

			c.jump(jump)
			endLost(t, o, 0)
			c.jump(11 * time.Second)
			endLost(t, o, 1)
		})
	}
}

// A run goes on as long as one of its holders lives.
func TestTwoHolders(t *testing.T) {
	c := newClock()
	o := openAt(t, c)
	id, submitter := createHeld(t, o)
	executor := orchestrator.NewLease("executor", time.Minute)
	if err := o.Hold(t.Context(), id, executor); err != nil {
		t.Fatal(err)
	}
	if err := o.Release(t.Context(), submitter); err != nil {
		t.Fatal(err)
	}
	c.jump(59 * time.Second)
	endLost(t, o, 0)
	c.jump(2 * time.Second)
	endLost(t, o, 0)
	c.jump(20 * time.Second)
	endLost(t, o, 1)
	wantState(t, o, id, orchestrator.TypeCrashed, "nobody looks after the run any more: the executor has given no sign of life since 2026-03-01T12:00:00Z")
}

func TestProcessHasEnded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux names a process for good")
	}
	path := filepath.Join(t.TempDir(), "db")
	o := open(t, path)
	self := strings.Fields(o.Process())
	if len(self) != 4 {
		t.Fatalf("this process is named %q", self)
	}
	// The number of a process that has ended may be taken: this one lives for the test.
	child := exec.CommandContext(t.Context(), "sleep", "600")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := fmt.Sprint(child.Process.Pid)
	for _, test := range []struct {
		name, process string
		ended         bool
	}{
		{"this one", strings.Join(self, " "), false},
		{"no such number", strings.Join([]string{self[0], self[1], "2147483647", self[3]}, " "), true},
		{"another one of the number", strings.Join([]string{self[0], self[1], pid, "1"}, " "), true},
		{"before the machine was started anew", strings.Join([]string{"3f0c9e6a-0000-4000-8000-000000000000", self[1], "2147483647", self[3]}, " "), false},
		{"out of sight", strings.Join([]string{self[0], "pid:[1]", "2147483647", self[3]}, " "), false},
		{"no name", "", false},
		{"not a name", "a b -1 c", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			theirs := open(t, path)
			theirs.SetProcess(test.process)
			id, _ := createHeld(t, theirs)
			want, typ := 0, orchestrator.TypePending
			if test.ended {
				want, typ = 1, orchestrator.TypeCrashed
			}
			endLost(t, o, want)
			run, err := o.FlowRun(t.Context(), id)
			if err != nil || run.State.Type != typ {
				t.Errorf("%+v, %v", run.State, err)
			}
			if test.ended && !strings.Contains(run.State.Message, "the submitter (process "+strings.Fields(test.process)[2]+") has ended") {
				t.Errorf("message %q", run.State.Message)
			}
		})
	}
	child.Process.Kill()
	child.Wait()
}

// A process that was stopped for a while keeps its run.
func TestStoppedProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux names a process for good")
	}
	c := newClock()
	o := open(t, filepath.Join(t.TempDir(), "db"))
	o.SetClock(c.now)
	createHeld(t, o)
	for range 2 {
		c.jump(4 * time.Minute)
		endLost(t, o, 0)
	}
	c.jump(4 * time.Minute)
	endLost(t, o, 0)
	c.jump(time.Minute)
	endLost(t, o, 1)
}

// A run whose job nobody could look for is ended in the end, but not before that was tried for a while
// since somebody last looked after it.
func TestAbandonedForLong(t *testing.T) {
	c := newClock()
	o := openAt(t, c)
	if _, err := o.CreateWorkPool(t.Context(), orchestrator.NewWorkPool{Name: "dock", Type: "docker"}); err != nil {
		t.Fatal(err)
	}
	lease := orchestrator.NewLease("launcher", 0)
	run, err := o.CreateFlowRun(t.Context(), orchestrator.NewFlowRun{Flow: "f", WorkPool: "dock", State: state(orchestrator.TypeRunning), Lease: &lease})
	if err == nil {
		err = o.SetInfrastructure(t.Context(), run.ID, "job")
	}
	if err == nil {
		err = o.Release(t.Context(), lease)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.jump(time.Hour)
		endLost(t, o, 0) // noticed
		c.jump(orchestrator.JobPatience - time.Second)
		endLost(t, o, 0)
		waiter := orchestrator.NewLease("waiter", 0)
		if taken, err := o.TakeUp(t.Context(), run.ID, waiter); !taken || err != nil {
			t.Fatalf("taken up: %t, %v", taken, err)
		}
		if err := o.Release(t.Context(), waiter); err != nil {
			t.Fatal(err)
		}
	}
	endLost(t, o, 0)
	c.jump(orchestrator.JobPatience)
	endLost(t, o, 1)
	wantState(t, o, run.ID, orchestrator.TypeCrashed, "nobody looks after the run any more: no one is known who did, and its job could not be looked for within 10m0s")
}

// Of all who find a run lost, one ends it.
func TestLostOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	o := open(t, path)
	const runs = 20
	for range runs {
		id, lease := createHeld(t, o)
		if err := o.Release(t.Context(), lease); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
	}
	var ended atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			other := open(t, path)
			n, err := other.EndLost(t.Context())
			if err != nil {
				t.Error(err)
			}
			ended.Add(int64(n))
		})
	}
	wg.Wait()
	if ended.Load() != runs {
		t.Errorf("%d runs were ended %d times", runs, ended.Load())
	}
	list, err := o.FlowRuns(t.Context(), orchestrator.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range list {
		if states, err := o.States(t.Context(), run.ID); err != nil || len(states) != 2 || states[1].Type != orchestrator.TypeCrashed {
			t.Errorf("states %+v, %v", states, err)
		}
	}
}
