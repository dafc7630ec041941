package prefect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// defaultHeartbeat is the interval of a worker that names none.
const defaultHeartbeat = 30 * time.Second

// wholeSeconds rounds up to what the server counts in.
func wholeSeconds(d time.Duration) int {
	if d <= 0 {
		d = defaultHeartbeat
	}
	return int((d + time.Second - 1) / time.Second)
}

// workers are those that this client speaks for.
type workers struct {
	mu     sync.Mutex
	known  map[workerName]*knownWorker
	closed bool
}

// workerName is how a server tells workers apart.
type workerName struct{ pool, name string }

type knownWorker struct {
	channel *channel
	opened  time.Time
}

// channel returns the worker's channel, and whether this is its first use.
func (ws *workers) channel(ctx context.Context, c *Client, w orchestrator.Worker) (ch *channel, first bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return nil, false
	}
	one := ws.known[workerName{w.WorkPool, w.Name}]
	if one == nil {
		one = &knownWorker{}
		if ws.known == nil {
			ws.known = map[workerName]*knownWorker{}
		}
		ws.known[workerName{w.WorkPool, w.Name}] = one
	}
	if one.channel != nil {
		select {
		case <-one.channel.done: // it is not to be had
			if time.Since(one.opened) < channelRest {
				return one.channel, false
			}
		default:
			return one.channel, false
		}
	}
	one.channel, one.opened = openChannel(ctx, c, w), time.Now()
	return one.channel, true
}

// forget returns the worker's channel, if it has one, and knows it no more.
func (ws *workers) forget(w orchestrator.Worker) *channel {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	name := workerName{w.WorkPool, w.Name}
	one := ws.known[name]
	delete(ws.known, name)
	if one == nil {
		return nil
	}
	return one.channel
}

// close ends all channels.
func (ws *workers) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = true
	var closing sync.WaitGroup
	for _, one := range ws.known {
		if one.channel != nil {
			closing.Go(one.channel.close)
		}
	}
	closing.Wait()
	ws.known = nil
}

// Heartbeat implements [orchestrator.WorkerRegistry]. Until [Client.SignOff] or [Client.Close], the
// worker has a connection to the server if the server has such a thing.
func (c *Client) Heartbeat(ctx context.Context, w orchestrator.Worker) error {
	if w.Name == "" || isDots(w.Name) || strings.ContainsAny(w.Name, "/%") {
		return fmt.Errorf("prefect: work pool %q: worker %q: a name is not empty and has neither / nor %%", w.WorkPool, w.Name)
	}
	c.served.add(w.WorkPool)
	if ch, first := c.workers.channel(ctx, c, w); ch != nil && ch.heartbeat(ctx, w, first) == nil {
		return nil
	}
	body := map[string]any{"name": w.Name, "heartbeat_interval_seconds": wholeSeconds(w.Interval)}
	return c.callWorkPool(ctx, http.MethodPost, w.WorkPool, "/workers/heartbeat", body, nil)
}

// SignOff implements [orchestrator.WorkerRegistry]. A worker that is not there is no error.
func (c *Client) SignOff(ctx context.Context, w orchestrator.Worker) error {
	if ch := c.workers.forget(w); ch != nil {
		ch.close()
	}
	err := c.callWorkPool(ctx, http.MethodDelete, w.WorkPool, "/workers/"+url.PathEscape(w.Name), nil, nil)
	if errors.Is(err, orchestrator.ErrNoWorkPool) { // nor need there be a pool
		return nil
	}
	return err
}

// Workers implements [orchestrator.WorkerRegistry].
func (c *Client) Workers(ctx context.Context, workPool string) ([]orchestrator.Worker, error) {
	workers := []orchestrator.Worker{}
	for offset := 0; ; offset += page {
		var some []struct {
			Name     string     `json:"name"`
			Status   string     `json:"status"`
			LastSeen *time.Time `json:"last_heartbeat_time"`
			Interval *int       `json:"heartbeat_interval_seconds"`
		}
		body := map[string]any{"limit": page, "offset": offset}
		if err := c.callWorkPool(ctx, http.MethodPost, workPool, "/workers/filter", body, &some); err != nil {
			return nil, err
		}
		for _, one := range some {
			if one.Status != "ONLINE" {
				continue
			}
			w := orchestrator.Worker{Name: one.Name, WorkPool: workPool, Interval: defaultHeartbeat}
			if one.Interval != nil {
				w.Interval = time.Duration(*one.Interval) * time.Second
			}
			if one.LastSeen != nil {
				w.LastSeen = one.LastSeen.UTC()
			}
			workers = append(workers, w)
		}
		if len(some) < page {
			break
		}
	}
	slices.SortFunc(workers, func(a, b orchestrator.Worker) int { return strings.Compare(a.Name, b.Name) })
	return workers, nil
}
