package prefect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
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

// Heartbeat implements [orchestrator.WorkerRegistry].
func (c *Client) Heartbeat(ctx context.Context, w orchestrator.Worker) error {
	if w.Name == "" || isDots(w.Name) || strings.ContainsAny(w.Name, "/%") {
		return fmt.Errorf("prefect: work pool %q: worker %q: a name is not empty and has neither / nor %%", w.WorkPool, w.Name)
	}
	c.served.add(w.WorkPool)
	return c.postHeartbeat(ctx, w)
}

// postHeartbeat is the heartbeat of a worker that has no channel.
func (c *Client) postHeartbeat(ctx context.Context, w orchestrator.Worker) error {
	body := map[string]any{"name": w.Name, "heartbeat_interval_seconds": wholeSeconds(w.Interval)}
	return c.callWorkPool(ctx, http.MethodPost, w.WorkPool, "/workers/heartbeat", body, nil)
}

// SignOff implements [orchestrator.WorkerRegistry]. A worker that is not there is no error.
func (c *Client) SignOff(ctx context.Context, w orchestrator.Worker) error {
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
