//go:build linux

package submit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/worker"
)

// processesOf returns the processes of a home: workers, launchers, submitters, executors and
// commands.
func processesOf(home string) []int {
	var pids []int
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environs {
		env, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(env), "FLOWSHIP_HOME="+home+"\x00") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Whatever is killed and whenever, each of 200 runs ends in one final state, and none is begun
// twice. The runs come in by all three ways; two workers serve the pool, and are replaced when
// they were killed.
func TestAnythingIsKilled(t *testing.T) {
	b := newBed(t)
	const wanted = 200
	begun := filepath.Join(t.TempDir(), "begun")
	script := "echo $FLOWSHIP_FLOW_RUN_ID >> " + begun + "; exec sleep 0.03"
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()

	workers := make([]*exec.Cmd, 2)
	keepWorkers := func() {
		for i, w := range workers {
			if w != nil && !gone(w.Process.Pid) {
				continue
			}
			if w != nil {
				w.Wait()
			}
			workers[i] = exec.Command(os.Args[0])
			workers[i].Env = append(os.Environ(), workerVariable+"=1", "FLOWSHIP_HOME="+b.home)
			if err := workers[i].Start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	defer func() {
		for _, w := range workers {
			w.Process.Kill()
			w.Wait()
		}
	}()
	var submitters []*exec.Cmd
	recorded := 0
	for i := 0; recorded < wanted; i++ {
		keepWorkers()
		switch i % 3 {
		case 0:
			if _, err := b.client.SubmitToWorkPool(ctx, submit.Invocation{Command: sh(script)}); err != nil {
				t.Fatal(err)
			}
		default:
			cmd := b.submitter(script)
			if i%3 == 1 {
				cmd.Env = append(cmd.Env, "MODE=submit")
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			submitters = append(submitters, cmd)
		}
		if pids := processesOf(b.home); len(pids) > 0 && i%2 == 0 {
			kill(pids[rand.N(len(pids))])
		}
		if i%10 == 9 {
			for _, cmd := range submitters {
				cmd.Wait()
			}
			submitters = nil
			list, err := b.client.FlowRuns(ctx, orchestrator.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			recorded = len(list)
		}
	}
	for _, cmd := range submitters {
		cmd.Wait()
	}
	until(t, "every run has ended", func() bool {
		keepWorkers()
		list, err := b.client.FlowRuns(ctx, orchestrator.Filter{States: []orchestrator.StateType{"SCHEDULED", "PENDING", "RUNNING", "CANCELLING"}})
		if err != nil {
			t.Fatal(err)
		}
		return len(list) == 0
	})
	text, err := os.ReadFile(begun)
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for _, id := range strings.Fields(string(text)) {
		times[id]++
	}
	list, err := b.client.FlowRuns(ctx, orchestrator.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	runs := b.runs(t)
	defer runs.Close()
	ends := map[orchestrator.StateType]int{}
	for _, run := range list {
		ends[run.State.Type]++
		states, err := runs.States(ctx, run.ID)
		if err != nil {
			t.Fatal(err)
		}
		final := 0
		for _, s := range states {
			if s.Type.Final() {
				final++
			}
		}
		if final != 1 || !run.State.Type.Final() || times[run.ID] > 1 {
			t.Errorf("%s: %d final states of %v, begun %d times", run.Name, final, states, times[run.ID])
		}
		if run.State.Type == orchestrator.TypeCompleted && times[run.ID] != 1 {
			t.Errorf("%s: completed, and begun %d times", run.Name, times[run.ID])
		}
	}
	t.Logf("%d runs; ends %v", len(list), ends)
	if ends[orchestrator.TypeCompleted] == 0 || ends[orchestrator.TypeCrashed] == 0 {
		t.Errorf("ends %v: want some completed and some crashed", ends)
	}
}

// A worker that is asked to stop finishes what it has begun, and begins nothing more.
func TestWorkerStops(t *testing.T) {
	b := newBed(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	first, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{Command: sh(`echo $$ > "$1"; while [ -e "$1" ]; do sleep 0.01; done`, pidFile)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.open(t).Work(ctx, worker.Options{Limit: 1}) }()
	pidIn(t, pidFile)
	cancel()
	second, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{Command: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("it did not wait for its run: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	os.Remove(pidFile)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if state := b.ended(t, first.ID); state.Type != orchestrator.TypeCompleted {
		t.Errorf("its run ended %+v", state)
	}
	if state, err := b.client.State(t.Context(), second.ID); err != nil || state.Type != orchestrator.TypeScheduled {
		t.Errorf("what came after is %+v (%v)", state, err)
	}
}

// One that is told again stops its runs; they are CRASHED, for nobody cancelled them.
func TestWorkerHurries(t *testing.T) {
	b := newBed(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	run, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{Command: sh(`trap '' INT TERM; echo $$ > "$1"; while :; do sleep 0.01; done`, pidFile)})
	if err != nil {
		t.Fatal(err)
	}
	hurry := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.open(t).Work(ctx, worker.Options{Hurry: hurry}) }()
	pid := pidIn(t, pidFile)
	cancel()
	close(hurry)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if state := b.ended(t, run.ID); state.Type != orchestrator.TypeCrashed || !strings.Contains(state.Message, "worker was stopped") {
		t.Errorf("ended %+v", state)
	}
	until(t, "the command is gone", func() bool { return gone(pid) })
}

// A worker that was killed leaves no run RUNNING, and the next one goes on with what waits.
func TestWorkerIsKilled(t *testing.T) {
	b := newBed(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	run, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{Command: sh(`echo $$ > "$1"; exec sleep 600`, pidFile)})
	if err != nil {
		t.Fatal(err)
	}
	w := exec.Command(os.Args[0])
	w.Env = append(os.Environ(), workerVariable+"=1", "FLOWSHIP_HOME="+b.home)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	pid := pidIn(t, pidFile)
	next, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{Command: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	w.Process.Kill()
	w.Wait()
	b.work(t, worker.Options{})
	if state := b.ended(t, run.ID); state.Type != orchestrator.TypeCrashed {
		t.Errorf("ended %+v", state)
	}
	until(t, "its command is gone", func() bool { return gone(pid) })
	if state := b.ended(t, next.ID); state.Type != orchestrator.TypeCompleted {
		t.Errorf("the next one ended %+v", state)
	}
}

// The pool's concurrency limit holds for all of its workers together; of two runs, the one of
// lower priority number goes first.
func TestPoolLimit(t *testing.T) {
	b := newBed(t)
	one := 1
	if err := b.client.ChangeWorkPool(t.Context(), "local", orchestrator.WorkPoolChange{ConcurrencyLimit: &one}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var ids []string
	for i := range 6 {
		run, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{
			Priority: -i, Command: sh(`mkdir "$1/busy" || exit 9; echo $2 >> "$1/order"; sleep 0.02; rmdir "$1/busy"`, dir, strconv.Itoa(i)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, run.ID)
	}
	for range 2 {
		b.work(t, worker.Options{Interval: 5 * time.Millisecond})
	}
	for _, id := range ids {
		if state := b.ended(t, id); state.Type != orchestrator.TypeCompleted {
			t.Errorf("two at once: %+v", state)
		}
	}
	if order, err := os.ReadFile(filepath.Join(dir, "order")); err != nil || string(order) != "5\n4\n3\n2\n1\n0\n" {
		t.Errorf("order %q (%v)", order, err)
	}
}

// 100 who wait at once, half of them not long enough.
func TestManyWait(t *testing.T) {
	b := newBed(t)
	gate := filepath.Join(t.TempDir(), "gate")
	errs := make(chan error, 100)
	for i := range 100 {
		run, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{Command: sh(`while [ ! -e "$1" ]; do sleep 0.05; done`, gate)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if i%2 == 0 {
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		}
		go func() {
			defer cancel()
			state, err := b.client.Wait(ctx, run.ID)
			switch {
			case i%2 == 0 && !errors.Is(err, context.DeadlineExceeded):
				errs <- fmt.Errorf("run %d: %+v, %v", i, state, err)
			case i%2 == 1 && (err != nil || state.Type != orchestrator.TypeCompleted):
				errs <- fmt.Errorf("run %d: %+v, %v", i, state, err)
			default:
				errs <- nil
			}
		}()
	}
	for range 50 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	os.WriteFile(gate, nil, 0o600)
	b.work(t, worker.Options{Limit: 16})
	for range 50 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// A worker whose own program is being replaced leaves the runs to wait.
func TestWorkerWithoutProgram(t *testing.T) {
	b := newBed(t)
	program := filepath.Join(t.TempDir(), "executor")
	c, err := submit.OpenClient(t.Context(), &submit.ClientOptions{Home: b.home, Executor: []string{program}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	run, err := b.client.SubmitToWorkPool(t.Context(), submit.Invocation{Command: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Work(t.Context(), worker.Options{RunOnce: true}); err == nil || !strings.Contains(err.Error(), "nothing could execute them") {
		t.Errorf("worked without a program: %v", err)
	}
	if state, err := b.client.State(t.Context(), run.ID); err != nil || state.Type != orchestrator.TypeScheduled {
		t.Errorf("the run is %+v (%v)", state, err)
	}
	if err := os.Symlink(os.Args[0], program); err != nil {
		t.Fatal(err)
	}
	if err := c.Work(t.Context(), worker.Options{RunOnce: true}); err != nil {
		t.Fatal(err)
	}
	if state := b.ended(t, run.ID); state.Type != orchestrator.TypeCompleted {
		t.Errorf("ended %+v", state)
	}
}
