package prefect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// lossInterval is how often a client looks for lost runs: it asks for all that are under way.
const lossInterval = 15 * time.Second

// losses are what a client knows of its looks for lost runs.
type losses struct {
	sync.Mutex // held while somebody looks
	asked      time.Time

	known     sync.Mutex
	abandoned []string // ids, at the last look
}

// EndLost implements [orchestrator.LossEnder]. It looks at runs without a deployment, and at all
// in the work pools for which this client sent heartbeats, at most every 15 seconds. A run that
// nobody ever took a lease of is another tool's, and left alone.
//
// That leases have expired may also come from a server that was away: then those who live could
// not say so, and come back by and by. So who first finds a run like that only notes its doubt at
// the run, and the run is ended by who still finds it so after half a lease, or
// [orchestrator.JobPatience] if it can be taken up.
func (c *Client) EndLost(ctx context.Context) (int, error) {
	if !c.losses.TryLock() { // somebody looks already
		return 0, nil
	}
	defer c.losses.Unlock()
	if time.Since(c.losses.asked) < c.lossInterval {
		return 0, nil
	}
	ended, err := c.endLost(ctx)
	if err != nil {
		return ended, fmt.Errorf("prefect: end lost flow runs: %w", unprefixed(err))
	}
	c.losses.asked = time.Now()
	return ended, nil
}

// Abandoned implements [orchestrator.Resumer]. It says what was found when runs were last looked
// for that are lost.
func (c *Client) Abandoned(ctx context.Context) ([]string, error) {
	if _, err := c.EndLost(ctx); err != nil {
		return nil, err
	}
	c.losses.known.Lock()
	defer c.losses.known.Unlock()
	return slices.Clone(c.losses.abandoned), nil
}

func (c *Client) endLost(ctx context.Context) (ended int, err error) {
	lost := map[string]*flowRun{}
	collect := func(runs []*flowRun) bool {
		for _, r := range runs {
			if r.lost(c.now()) != nil {
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
	var abandoned []string
	for _, run := range lost {
		v, err := c.judge(ctx, run)
		if err != nil {
			return ended, err
		}
		if v.abandoned {
			abandoned = append(abandoned, run.ID)
		}
		if !v.certain {
			continue
		}
		ok, err := c.endOne(ctx, run, v.loss)
		if err != nil {
			return ended, err
		}
		if ok {
			ended++
		}
	}
	c.losses.known.Lock()
	defer c.losses.known.Unlock()
	c.losses.abandoned = abandoned
	return ended, nil
}

// endOne ends a run that is lost.
func (c *Client) endOne(ctx context.Context, run *flowRun, l *loss) (ended bool, err error) {
	seen := run.current()
	end := orchestrator.TypeCrashed
	if seen.Type == orchestrator.TypeCancelling {
		end = orchestrator.TypeCancelled
	}
	state := orchestrator.NewState(end, "nobody looks after the run any more: "+strings.Join(l.why, ", "))
	// Without force: the server then refuses a crash of what has ended meanwhile.
	out, err := c.setState(ctx, run.ID, state, &orchestrator.SetStateOptions{Follows: seen.ID}, func(r *flowRun) bool {
		return r.lost(c.now()) != nil
	})
	if errors.Is(err, orchestrator.ErrNotFound) {
		return false, nil
	}
	return err == nil && out.Status == orchestrator.Accepted, err
}

// verdict is what is to be thought of a run that looks lost.
type verdict struct {
	*loss
	abandoned bool // it can be taken up
	certain   bool // it is lost
}

// judge says whether there is no doubt about a loss, and whether the run can be taken up.
func (c *Client) judge(ctx context.Context, run *flowRun) (v verdict, err error) {
	if v.loss = run.lost(c.now()); v.loss == nil {
		return v, nil
	}
	elsewhere, err := c.elsewhere(ctx, run)
	if err != nil {
		return v, err
	}
	if !elsewhere {
		v.certain, err = c.doubt(ctx, run, v.loss, v.patience)
		return v, err
	}
	v.why = append(v.why, fmt.Sprintf("and its job could not be looked for within %v", orchestrator.JobPatience))
	if v.certain, err = c.doubt(ctx, run, v.loss, orchestrator.JobPatience); err != nil {
		return v, err
	}
	since := run.doubted()
	v.abandoned = v.patience == 0 || !since.Before(v.renewed) && c.now().Sub(since) >= v.patience
	return v, nil
}

// elsewhere reports whether the run's job may go on without those who watched it.
func (c *Client) elsewhere(ctx context.Context, run *flowRun) (bool, error) {
	name, there := run.workPool()
	if run.Infrastructure == "" || !there {
		return false, nil
	}
	pool, err := c.WorkPool(ctx, name)
	if errors.Is(err, orchestrator.ErrNoWorkPool) {
		return false, nil
	}
	return err == nil && pool.Type != orchestrator.PlatformProcess, err
}

// earlierLife is how much older than the state of its run a sign may be that still belongs to it:
// the clock of the server is known to a few seconds.
const earlierLife = staleness

// doubt reports whether the loss is beyond doubt after the patience. If nobody has said that it is
// doubted since a lease was last renewed, it notes that it is from now on.
func (c *Client) doubt(ctx context.Context, run *flowRun, l *loss, patience time.Duration) (certain bool, err error) {
	if patience == 0 {
		return true, nil
	}
	now := c.now()
	if since := run.doubted(); !since.IsZero() && !since.Before(l.renewed) {
		return now.Sub(since) >= patience, nil
	}
	err = c.write(ctx, run.ID, map[string]string{labelDoubt: now.Format(time.RFC3339Nano)})
	if isNotFound(err) {
		err = nil
	}
	return false, err
}

// doubted is since when it is doubted that somebody looks after the run; zero if it is not.
func (r *flowRun) doubted() time.Time {
	since, err := time.Parse(time.RFC3339Nano, r.Labels[labelDoubt])
	if err != nil {
		return time.Time{}
	}
	return since
}

// loss is that nobody looks after a run any more.
type loss struct {
	why []string // who disappeared
	// Where leases have expired, and were not given up: for how long that is doubted, and when the
	// last one was renewed.
	patience time.Duration
	renewed  time.Time
}

// lost returns that somebody looked after the run since it is in its state and nobody does any
// more, or nil.
func (r *flowRun) lost(now time.Time) *loss {
	state := r.current()
	if !state.UnderWay() {
		return nil
	}
	l := &loss{}
	for _, s := range r.Labels.signs() {
		switch {
		case s.at.Before(state.Timestamp.Add(-earlierLife)): // of an earlier life, or handed over
		case s.released:
			l.why = append(l.why, fmt.Sprintf("the %s has left it", s.holder))
		case s.at.After(now):
			return nil
		default:
			l.why = append(l.why, fmt.Sprintf("the %s has given no sign of life, its lease expired at %s", s.holder, s.at.UTC().Format(time.RFC3339)))
			l.patience = max(l.patience, s.length/2)
			if renewed := s.at.Add(-s.length); renewed.After(l.renewed) {
				l.renewed = renewed
			}
		}
	}
	if len(l.why) == 0 {
		return nil
	}
	slices.Sort(l.why)
	return l
}
