package prefect_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

const (
	connects   = "/workers/connect"
	heartbeats = "/workers/heartbeat"
)

// newPool makes a work pool of its own.
func newPool(t *testing.T, c *prefect.Client) string {
	t.Helper()
	name := "pool-" + uuid.NewString()
	if _, err := c.CreateWorkPool(t.Context(), orchestrator.NewWorkPool{Name: name, Type: "process"}); err != nil {
		t.Fatal(err)
	}
	return name
}

func workers(t *testing.T, c *prefect.Client, pool string) []orchestrator.Worker {
	t.Helper()
	list, err := c.Workers(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func beat(t *testing.T, c *prefect.Client, w orchestrator.Worker) {
	t.Helper()
	if err := c.Heartbeat(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

// TestWorkerChannel: heartbeats go over the worker's own connection; while it is broken, as
// requests.
func TestWorkerChannel(t *testing.T) {
	p := newProxy(t)
	c := p.open(t)
	w := orchestrator.Worker{Name: "w", WorkPool: newPool(t, c), Interval: 10 * time.Second}
	beat(t, c, w)
	first := workers(t, c, w.WorkPool)
	if len(first) != 1 || first[0].Interval != w.Interval {
		t.Fatalf("%+v", first)
	}
	beat(t, c, w)
	if u, r := p.count(connects), p.count(heartbeats); u != 1 || r != 0 {
		t.Errorf("connected: %d connections and %d requests", u, r)
	}
	eventually(t, "the second heartbeat is seen", func() bool { return workers(t, c, w.WorkPool)[0].LastSeen.After(first[0].LastSeen) })

	p.cut()
	beat(t, c, w)
	if n := p.count(heartbeats); n < 1 { // a busy server may be asked again
		t.Errorf("cut: %d requests", n)
	}
	eventually(t, "connected again", func() bool { return p.count(connects) >= 2 })
	eventually(t, "heartbeats over the new connection", func() bool {
		before := p.count(heartbeats)
		beat(t, c, w)
		return p.count(heartbeats) == before
	})
	for range 2 {
		if err := c.SignOff(t.Context(), w); err != nil {
			t.Error(err)
		}
	}
	if left := workers(t, c, w.WorkPool); len(left) > 0 {
		t.Errorf("%+v", left)
	}
}

// TestNoWorkerChannel: a server without such connections is asked once.
func TestNoWorkerChannel(t *testing.T) {
	p := newProxy(t)
	p.refuseSockets()
	c := p.open(t)
	w := orchestrator.Worker{Name: "w", WorkPool: newPool(t, c)}
	for range 3 {
		beat(t, c, w)
	}
	if u, r := p.count(connects), p.count(heartbeats); u != 1 || r < 3 {
		t.Errorf("%d connections and %d requests", u, r)
	}
	if list := workers(t, c, w.WorkPool); len(list) != 1 || list[0].Interval != 30*time.Second {
		t.Errorf("%+v", list)
	}
}

// TestWorkerOfDeletedPool: who is connected hears that its pool is gone.
func TestWorkerOfDeletedPool(t *testing.T) {
	c := newProxy(t).open(t)
	w := orchestrator.Worker{Name: "w", WorkPool: newPool(t, c)}
	beat(t, c, w)
	if err := c.DeleteWorkPool(t.Context(), w.WorkPool); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ErrNoWorkPool", func() bool { return errors.Is(c.Heartbeat(t.Context(), w), orchestrator.ErrNoWorkPool) })
	if err := c.SignOff(t.Context(), w); err != nil {
		t.Error(err)
	}
}
