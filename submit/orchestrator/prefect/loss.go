package prefect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// lossInterval is how often a client looks for lost runs: it asks for all that are under way.
const lossInterval = 15 * time.Second

// lossPatience is for how long after the server could not be reached nothing is taken for lost:
// those who live could not say so, and come back by and by.
const lossPatience = 45 * time.Second

// losses are what a client knows of its looks for lost runs.
type losses struct {
	sync.Mutex // held while somebody looks
	asked      time.Time
	missed     atomic.Int64 // when the server could not be reached, in nanoseconds of Unix time
}

// EndLost implements [orchestrator.LossEnder]. It looks at runs without a deployment, and at all
// in the work pools for which this client sent heartbeats, at most every 15 seconds, and not soon
// after it could not reach the server. A run that nobody ever took a lease of is another tool's,
// and left alone.
func (c *Client) EndLost(ctx context.Context) (int, error) {
	if !c.losses.TryLock() { // somebody looks already
		return 0, nil
	}
	defer c.losses.Unlock()
	missed := time.Unix(0, c.losses.missed.Load())
	if time.Since(c.losses.asked) < c.lossInterval || time.Since(missed) < lossPatience {
		return 0, nil
	}
	ended, err := c.endLost(ctx)
	if err != nil {
		return ended, fmt.Errorf("prefect: end lost flow runs: %w", unprefixed(err))
	}
	c.losses.asked = time.Now()
	return ended, nil
}

func (c *Client) endLost(ctx context.Context) (ended int, err error) {
	lost := map[string]*flowRun{}
	collect := func(runs []*flowRun) bool {
		for _, r := range runs {
			if _, is := r.lost(c.now()); is {
				lost[r.ID] = r
			}
		}
		return true
	}
	if err := c.pages(ctx, filter{"sort": "ID_DESC", "flow_runs": filter{"state": underWay(), "deployment_id": filter{"is_null_": true}}}, collect); err != nil {
		return 0, err
	}
	if pools := c.served.names(); len(pools) > 0 {
		body := filter{"sort": "ID_DESC", "flow_runs": filter{"state": underWay()}, "work_pools": filter{"name": filter{"any_": pools}}}
		if err := c.pages(ctx, body, collect); err != nil {
			return 0, err
		}
	}
	for _, run := range lost {
		seen := run.current()
		why, _ := run.lost(c.now())
		end := orchestrator.TypeCrashed
		if seen.Type == orchestrator.TypeCancelling {
			end = orchestrator.TypeCancelled
		}
		state := orchestrator.NewState(end, "nobody looks after the run any more: "+strings.Join(why, ", "))
		// Without force: the server then refuses a crash of what has ended meanwhile.
		out, err := c.setState(ctx, run.ID, state, &orchestrator.SetStateOptions{Follows: seen.ID}, func(r *flowRun) bool {
			_, is := r.lost(c.now())
			return is
		})
		switch {
		case errors.Is(err, orchestrator.ErrNotFound):
		case err != nil:
			return ended, err
		case out.Status == orchestrator.Accepted:
			ended++
		}
	}
	return ended, nil
}

// earlierLife is how much older than the state of its run a sign may be that still belongs to it:
// the clock of the server is known to a few seconds.
const earlierLife = staleness

// lost reports whether somebody looked after the run since it is in its state and nobody does any
// more, and says who disappeared.
func (r *flowRun) lost(now time.Time) (why []string, is bool) {
	state := r.current()
	if !state.UnderWay() {
		return nil, false
	}
	for _, s := range r.Labels.signs() {
		switch {
		case s.at.Before(state.Timestamp.Add(-earlierLife)): // of an earlier life, or handed over
		case s.released:
			why = append(why, fmt.Sprintf("the %s has left it", s.holder))
		case s.at.After(now):
			return nil, false
		default:
			why = append(why, fmt.Sprintf("the %s has given no sign of life, its lease expired at %s", s.holder, s.at.UTC().Format(time.RFC3339)))
		}
	}
	slices.Sort(why)
	return why, len(why) > 0
}
