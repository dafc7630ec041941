package prefect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// ScheduledFlowRuns implements [orchestrator.Queue]: of the two hundred runs that are due first,
// those of the queue with the server's higher priority come first, and within a queue those with
// the lower priority number. All queues are asked, or those that [Client.SetQueues] names.
func (c *Client) ScheduledFlowRuns(ctx context.Context, workPool string, before time.Time, limit int) ([]*orchestrator.FlowRun, error) {
	runs, err := c.scheduled(ctx, workPool, before, limit)
	if err != nil {
		return nil, fmt.Errorf("prefect: work pool %q: %w", workPool, unprefixed(err))
	}
	return c.public(ctx, runs)
}

// SetQueues has [Client.ScheduledFlowRuns] ask only these queues of the work pool; none: all. While
// one of them does not exist, nothing is offered.
func (c *Client) SetQueues(workPool string, queues []string) { c.served.setQueues(workPool, queues) }

func (c *Client) scheduled(ctx context.Context, workPool string, before time.Time, limit int) ([]*flowRun, error) {
	if workPool == "" || isDots(workPool) {
		return nil, orchestrator.ErrNoWorkPool
	}
	if before.IsZero() {
		before = c.now()
	}
	body := filter{"scheduled_before": before.UTC()}
	named := c.served.queuesOf(workPool)
	if len(named) > 0 {
		body["work_queue_names"] = named
	}
	var offers []struct {
		Queue string   `json:"work_queue_id"`
		Run   *flowRun `json:"flow_run"`
	}
	err := c.call(ctx, http.MethodPost, "/work_pools/"+url.PathEscape(workPool)+"/get_scheduled_flow_runs", body, &offers)
	if isNotFound(err) {
		if len(named) == 0 {
			return nil, orchestrator.ErrNoWorkPool
		}
		_, err = c.WorkPool(ctx, workPool) // it may be there without such a queue, which offers nothing
		return nil, err
	}
	if err != nil || len(offers) == 0 {
		return nil, err
	}
	// What is offered has no state yet.
	queues, ids := map[string]int{}, []string{} // the queues are in the order of their priorities
	place := map[string]int{}
	for _, o := range offers {
		if o.Run == nil {
			continue
		}
		if _, known := queues[o.Queue]; !known {
			queues[o.Queue] = len(queues)
		}
		ids = append(ids, o.Run.ID)
		place[o.Run.ID] = queues[o.Queue]
	}
	runs, err := c.filter(ctx, filter{"flow_runs": filter{"id": filter{"any_": ids}}, "limit": page})
	if err != nil {
		return nil, err
	}
	runs = slices.DeleteFunc(runs, func(r *flowRun) bool {
		s := r.current()
		return s.Type != orchestrator.TypeScheduled || s.AwaitsRetry()
	})
	slices.SortFunc(runs, func(a, b *flowRun) int {
		return cmp.Or(place[a.ID]-place[b.ID], cmp.Compare(a.priority(), b.priority()), a.due().Compare(b.due()), a.Created.Compare(b.Created.Time))
	})
	room, err := c.room(ctx, workPool)
	if limit > 0 {
		room = min(room, limit)
	}
	return runs[:min(room, len(runs))], err
}

func (r *flowRun) priority() int {
	n, _ := strconv.Atoi(r.Labels[labelPriority])
	return n
}

// due is when the run is; the server knows it of all that are SCHEDULED.
func (r *flowRun) due() time.Time {
	if r.State == nil {
		return time.Time{}
	}
	return r.State.Details.Scheduled.Time
}

// room is how many more runs of the work pool can be claimed.
func (c *Client) room(ctx context.Context, workPool string) (int, error) {
	pool, err := c.WorkPool(ctx, workPool)
	switch {
	case err != nil:
		return 0, err
	case pool.Paused:
		return 0, nil
	case pool.ConcurrencyLimit == nil:
		return math.MaxInt, nil
	}
	return max(*pool.ConcurrencyLimit-pool.ActiveSlots, 0), nil
}

// activeSlots is how many runs of the work pool are PENDING or under way. The server's own number
// leaves out those that are being cancelled, or wait to be run again.
func (c *Client) activeSlots(ctx context.Context, workPool string) (int, error) {
	var n int
	body := filter{"flow_runs": filter{"state": underWay()}, "work_pools": filter{"name": filter{"any_": []string{workPool}}}}
	err := c.call(ctx, http.MethodPost, "/flow_runs/count", body, &n)
	return n, err
}

// underWay is the part of a filter that says what [orchestrator.State.UnderWay] does.
func underWay() filter {
	return filter{
		"operator": "or_",
		"type":     filter{"any_": []orchestrator.StateType{orchestrator.TypePending, orchestrator.TypeRunning, orchestrator.TypeCancelling}},
		"name":     filter{"any_": []string{orchestrator.NameAwaitingRetry}},
	}
}

// claimedPool is where a claim takes the run from; nil when it is in none.
func (c *Client) claimedPool(ctx context.Context, run *flowRun) (*orchestrator.WorkPool, error) {
	name, there := run.workPool()
	if !there {
		return nil, nil
	}
	pool, err := c.WorkPool(ctx, name)
	if errors.Is(err, orchestrator.ErrNoWorkPool) {
		return nil, nil
	}
	return pool, err
}

// lockPool has one claim of a work pool's runs follow the other, so that its limit holds at least
// for this client.
func (c *Client) lockPool(ctx context.Context, run *flowRun, current, proposed orchestrator.State, opts *orchestrator.SetStateOptions) (unlock func(), err error) {
	name, there := run.workPool()
	if opts.Force || !there || !claims(current, proposed) {
		return func() {}, nil
	}
	return c.pools.lock(ctx, name)
}

// served are the work pools for which a client sends heartbeats, with the queues that it asks.
type served struct {
	mu     sync.Mutex
	pools  map[string]bool
	queues map[string][]string
}

// add notes that there was a heartbeat for the work pool.
func (s *served) add(workPool string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pools == nil {
		s.pools = map[string]bool{}
	}
	s.pools[workPool] = true
}

func (s *served) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.pools {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare)
	return names
}

func (s *served) setQueues(workPool string, queues []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queues == nil {
		s.queues = map[string][]string{}
	}
	s.queues[workPool] = slices.Clone(queues)
}

func (s *served) queuesOf(workPool string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queues[workPool]
}
