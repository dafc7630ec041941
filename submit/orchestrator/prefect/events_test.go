package prefect_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// TestNotify: what happens is told, also after the connection broke, and nothing of what happened
// before.
func TestNotify(t *testing.T) {
	p := newProxy(t)
	c := p.open(t)
	run := func() string {
		t.Helper()
		var flow, run struct{ ID string }
		for _, call := range []struct {
			path   string
			body   map[string]any
			answer any
		}{
			{"/flows/", map[string]any{"name": "notify"}, &flow},
			{"/flow_runs/", map[string]any{"state": map[string]any{"type": "PENDING"}}, &run},
		} {
			if flow.ID != "" {
				call.body["flow_id"] = flow.ID
			}
			if err := c.Call(t.Context(), "POST", call.path, call.body, call.answer); err != nil {
				t.Fatal(err)
			}
		}
		return run.ID
	}
	set := func(id string, states ...string) {
		t.Helper()
		for _, s := range states {
			if err := c.Call(t.Context(), "POST", "/flow_runs/"+id+"/set_state", map[string]any{"force": true, "state": map[string]any{"type": s}}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	set(run(), "COMPLETED")

	heard, connected := make(chan string, 1000), make(chan bool, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Notify(ctx, func(id string, typ orchestrator.StateType) { heard <- id + " " + string(typ) }, func(is bool) { connected <- is })
	}()
	wantConnected := func(want bool) {
		t.Helper()
		select {
		case got := <-connected:
			if got != want {
				t.Fatalf("connected: %v", got)
			}
		case <-time.After(time.Minute):
			t.Fatalf("not told that it is connected: %v", want)
		}
	}
	// The server does not say when it listens, so a state is set again until it is heard. What was
	// heard may come once more.
	told := map[string]bool{}
	want := func(id string, states ...string) {
		t.Helper()
		var got []string
		deadline := time.After(time.Minute)
		for len(got) < len(states) {
			if len(got) == 0 {
				set(id, "RUNNING", states[0])
			} else {
				set(id, states[len(got)])
			}
			select {
			case one := <-heard:
				if !told[one] {
					got = append(got, one)
				}
				told[one] = true
			case <-time.After(time.Second):
			case <-deadline:
				t.Fatalf("heard %v", got)
			}
		}
		var all []string
		for _, s := range states {
			all = append(all, id+" "+s)
		}
		if diff := cmp.Diff(all, got); diff != "" {
			t.Errorf("heard (-want +got):\n%s", diff)
		}
	}
	wantConnected(true)
	want(run(), "CANCELLING", "CANCELLED")
	p.cut()
	wantConnected(false)
	wantConnected(true)
	want(run(), "SCHEDULED", "FAILED")
	cancel()
	<-done
	wantConnected(false)
}

// TestWatcherHears: a watcher that would ask again in an hour learns of the end at once.
func TestWatcherHears(t *testing.T) {
	c := newProxy(t).open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	lease := orchestrator.NewLease("submitter", time.Minute)
	run, err := c.CreateFlowRun(ctx, orchestrator.NewFlowRun{Flow: "notify", State: orchestrator.NewState(orchestrator.TypeRunning, ""), Lease: &lease})
	if err != nil {
		t.Fatal(err)
	}
	w := orchestrator.NewWatcher(c, time.Hour)
	defer w.Close()
	done := make(chan struct{})
	var state orchestrator.State
	go func() {
		defer close(done)
		state, err = w.Wait(ctx, run.ID, func(s orchestrator.State) bool { return s.Type.Final() })
	}()
	// The server does not say when it listens, so the end is told again and again.
	for ended := false; !ended; {
		_, setErr := c.SetState(ctx, run.ID, orchestrator.NewState(orchestrator.TypeCompleted, ""), &orchestrator.SetStateOptions{Force: true})
		select {
		case <-done:
			ended = true
		case <-time.After(time.Second):
			if setErr != nil {
				t.Fatal(setErr)
			}
		}
	}
	if err != nil || state.Type != orchestrator.TypeCompleted {
		t.Errorf("%+v, %v", state, err)
	}
}

// FuzzChange: nothing that a server says does any harm.
func FuzzChange(f *testing.F) {
	f.Add([]byte(`{"type": "event", "event": {"resource": {"prefect.resource.id": "prefect.flow-run.1", "prefect.state-type": "FAILED"}}}`))
	f.Add([]byte(`{"type": "event", "event": {"resource": {"prefect.resource.id": 1}}}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		id, typ, ok := prefect.Change(message)
		if ok && (id == "" || typ == "" || !json.Valid(message)) {
			t.Errorf("%q: %q %q", message, id, typ)
		}
	})
}

// FuzzReady: the same of what a worker's connection says.
func FuzzReady(f *testing.F) {
	f.Add([]byte(`{"type": "worker.ready.v1", "payload": {"consumer_id": "c"}}`))
	f.Add([]byte(`{"type": "worker.ready.v1", "payload": []}`))
	f.Fuzz(func(t *testing.T, message []byte) {
		if prefect.Ready(message, "c") && !json.Valid(message) {
			t.Errorf("%q", message)
		}
	})
}
