package prefect

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// SetState implements [orchestrator.StateSetter]. The server decides. What it would let pass and
// [orchestrator.Decide] does not, such as a claim in a work pool that has no room left or a second
// end, is refused before it is asked; of two clients that propose such a thing at the same moment,
// both may succeed. A state is accepted with the time of the server. One that has to wait until
// the run is due is proposed again then.
func (c *Client) SetState(ctx context.Context, id string, proposed orchestrator.State, opts *orchestrator.SetStateOptions) (*orchestrator.Outcome, error) {
	if opts == nil {
		opts = &orchestrator.SetStateOptions{}
	}
	out, err := c.setState(ctx, id, proposed, opts, nil)
	if err != nil {
		return nil, about("flow run", id, err)
	}
	return out, nil
}

// setState proposes a state as long as still says of the run that there is reason to.
func (c *Client) setState(ctx context.Context, id string, proposed orchestrator.State, opts *orchestrator.SetStateOptions, still func(*flowRun) bool) (*orchestrator.Outcome, error) {
	known, ok := uuidOf(id)
	if !ok {
		return nil, orchestrator.ErrNotFound
	}
	t := &transition{c: c, id: known, proposed: proposed, opts: opts, still: still, again: c.proposals.note(proposed.ID)}
	for {
		out, delay, err := t.try(ctx)
		if err != nil || out != nil {
			return out, err
		}
		// The run may be cancelled meanwhile.
		const longest = 10 * time.Second
		if err := c.wait(ctx, min(delay, longest)); err != nil {
			return nil, err
		}
	}
}

// transition is the attempt to have a run become something else.
type transition struct {
	c        *Client
	id       string
	proposed orchestrator.State
	opts     *orchestrator.SetStateOptions
	still    func(*flowRun) bool
	again    bool                // the state was proposed before
	from     *orchestrator.State // from which it was proposed without an answer; nil: it was not
}

// errChanged: the run changed while it was not known whether a proposal had reached the server.
var errChanged = errors.New("the flow run has changed")

// try proposes the state once. Without an outcome it is to be tried again after the delay.
func (t *transition) try(ctx context.Context) (*orchestrator.Outcome, time.Duration, error) {
	unlock, err := t.c.runs.lock(ctx, t.id)
	if err != nil {
		return nil, 0, err
	}
	defer unlock()
	run, err := t.c.read(ctx, t.id)
	if err != nil {
		return nil, 0, err
	}
	current := run.current()
	release, err := t.c.lockPool(ctx, run, current, t.proposed, t.opts)
	if err != nil {
		return nil, 0, err
	}
	defer release()
	out, err := t.decide(ctx, run, current)
	if err != nil {
		return nil, 0, err
	}
	if out != nil {
		out, err = t.settle(ctx, run, out)
		return out, 0, err
	}
	if err := t.prepare(ctx, run, current); err != nil {
		return nil, 0, err
	}
	answer, err := t.propose(ctx, current)
	if errors.Is(err, errChanged) {
		t.from = &current
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if answer.Status == "WAIT" {
		return nil, max(time.Duration(answer.Details.Delay)*time.Second, 100*time.Millisecond), nil
	}
	if out, err = t.outcome(ctx, current, answer); err != nil {
		return nil, 0, err
	}
	out, err = t.settle(ctx, run, out)
	return out, 0, err
}

// decide returns what becomes of the proposal without asking the server; nil is to ask it.
func (t *transition) decide(ctx context.Context, run *flowRun, current orchestrator.State) (*orchestrator.Outcome, error) {
	c := t.c
	rejected := func(reason string) *orchestrator.Outcome {
		return &orchestrator.Outcome{Status: orchestrator.Rejected, State: current, Reason: reason}
	}
	switch {
	case current.ID == t.proposed.ID:
		return orchestrator.Decide(current, t.proposed, orchestrator.RunFacts{}), nil
	case t.again && c.proposals.replacement(t.proposed.ID) == current.ID, t.from != nil && t.replaces(*t.from, run):
		c.proposals.replaced(t.proposed.ID, current.ID)
		return rejected("the flow run became " + current.Name + " instead"), nil
	}
	if t.again || t.from != nil {
		states, err := c.states(ctx, t.id)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(states, func(s orchestrator.State) bool { return s.ID == t.proposed.ID }) {
			return rejected("this state was set before, and another one followed"), nil
		}
	}
	switch {
	case t.opts.Follows != "" && current.ID != t.opts.Follows:
		return rejected(fmt.Sprintf("the flow run has become %s meanwhile", current.Name)), nil
	case t.still != nil && !t.still(run):
		return rejected("somebody looks after the flow run"), nil
	case t.opts.Force:
		return nil, nil
	}
	facts := orchestrator.RunFacts{Policy: run.public("").Policy, RunCount: run.RunCount}
	if claims(current, t.proposed) {
		pool, err := c.claimedPool(ctx, run)
		if err != nil {
			return nil, err
		}
		facts.Pool = pool
	}
	out := orchestrator.Decide(current, t.proposed, facts)
	if out.Status == orchestrator.Accepted || out.State.ID == t.proposed.ID { // or another one in its place, which the server writes
		return nil, nil
	}
	return out, nil
}

// claims reports whether the transition takes a run from a queue.
func claims(current, proposed orchestrator.State) bool {
	return current.Type == orchestrator.TypeScheduled && !current.AwaitsRetry() && proposed.Type == orchestrator.TypePending
}

// replaces reports whether the run's state is what the server writes in place of the proposed one.
// Nobody else proposes states without an ID.
func (t *transition) replaces(from orchestrator.State, run *flowRun) bool {
	s := run.State
	if s == nil || s.Details.Transition != "" || s.ID == from.ID {
		return false
	}
	switch t.proposed.Type {
	case orchestrator.TypeCancelling:
		return from.Type == orchestrator.TypeScheduled && s.Type == orchestrator.TypeCancelled
	case orchestrator.TypeFailed:
		return from.Type == orchestrator.TypeRunning && run.current().AwaitsRetry() && s.Message == t.proposed.Message
	}
	return false
}

// prepare takes from the run what it shall not have in its new state: before that, because whoever
// takes a run that is SCHEDULED launches it at once.
func (t *transition) prepare(ctx context.Context, run *flowRun, current orchestrator.State) error {
	if name, there := run.workPool(); t.queues() && name != "" && !there {
		return fmt.Errorf("%w: %q", orchestrator.ErrNoWorkPool, name)
	}
	revives := current.Type.Final() && !t.proposed.Type.Final()
	if run.Infrastructure == "" || !t.queues() && !revives {
		return nil
	}
	return t.c.patch(ctx, t.id, map[string]any{"infrastructure_pid": nil})
}

// queues reports whether the run is to wait for anybody who takes it.
func (t *transition) queues() bool {
	return t.proposed.Type == orchestrator.TypeScheduled && !t.proposed.AwaitsRetry()
}

// orchestrated is the server's answer to a proposed state.
type orchestrated struct {
	Status  string `json:"status"`
	State   *state `json:"state"`
	Details struct {
		Reason string `json:"reason"`
		Delay  number `json:"delay_seconds"`
	} `json:"details"`
}

// propose asks the server. It is asked again only while nothing happened: a state that is forced
// would be written twice, and one that failed would be the end of a run that is to be retried.
func (t *transition) propose(ctx context.Context, current orchestrator.State) (*orchestrated, error) {
	var answer orchestrated
	body := map[string]any{"state": proposal(t.proposed), "force": t.opts.Force}
	unchanged := func(ctx context.Context) error {
		run, err := t.c.read(ctx, t.id)
		if err == nil && run.current().ID != current.ID {
			err = errChanged
		}
		return err
	}
	err := t.c.callOnce(ctx, http.MethodPost, "/flow_runs/"+t.id+"/set_state", body, &answer, unchanged)
	return &answer, err
}

// outcome reads the server's answer.
func (t *transition) outcome(ctx context.Context, before orchestrator.State, answer *orchestrated) (*orchestrator.Outcome, error) {
	out := &orchestrator.Outcome{Status: orchestrator.Status(answer.Status), Reason: answer.Details.Reason}
	if answer.State != nil {
		out.State = answer.State.public()
	}
	switch out.Status {
	case orchestrator.Accepted:
		out.Reason = ""
		if out.State.ID != t.proposed.ID {
			return nil, fmt.Errorf("%w: the server accepted the state %s, and answers with another one", ErrUnavailable, t.proposed.Name)
		}
	case orchestrator.Rejected, orchestrator.Aborted:
		if answer.State == nil {
			run, err := t.c.read(ctx, t.id)
			if err != nil {
				return nil, err
			}
			out.State = run.current()
		}
		if out.State.ID == t.proposed.ID {
			return orchestrator.Decide(out.State, t.proposed, orchestrator.RunFacts{}), nil
		}
		if out.Status == orchestrator.Rejected && out.State.ID != before.ID {
			t.c.proposals.replaced(t.proposed.ID, out.State.ID)
		}
		if out.Reason == "" {
			out.Reason = fmt.Sprintf("the flow run is %s", out.State.Name)
		}
	default:
		return nil, fmt.Errorf("%w: the server answers the state %s with the status %q", ErrUnavailable, t.proposed.Name, answer.Status)
	}
	if out.Status == orchestrator.Accepted && t.opts.Follows != "" {
		return t.followed(ctx, out)
	}
	return out, nil
}

// followed looks whether the state that was accepted follows the one that it was to follow: the
// server does not know of that. Of several that came in between, the first one holds.
func (t *transition) followed(ctx context.Context, out *orchestrator.Outcome) (*orchestrator.Outcome, error) {
	states, err := t.c.states(ctx, t.id)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(states, func(s orchestrator.State) bool { return s.ID == t.opts.Follows })
	if i < 0 || i+1 >= len(states) || states[i+1].ID == t.proposed.ID {
		return out, nil
	}
	first := states[i+1]
	return &orchestrator.Outcome{Status: orchestrator.Rejected, State: first, Reason: fmt.Sprintf("the flow run has become %s meanwhile", first.Name)}, nil
}

// settle does to the leases what follows from the outcome. Only those that the run had before are
// forgotten: whoever took it since has one of its own.
func (t *transition) settle(ctx context.Context, run *flowRun, out *orchestrator.Outcome) (*orchestrator.Outcome, error) {
	ended := out.State.Type.Final()
	if ended {
		t.c.leases.drop(t.id)
	}
	if out.Status != orchestrator.Accepted {
		return out, nil
	}
	if ended || t.queues() || run.current().Type.Final() {
		// Those of a run that has ended matter only if somebody runs it again: to have tried is enough.
		if err := t.c.forgetLeases(ctx, run); err != nil && !ended {
			return nil, err
		}
	}
	if ended || t.opts.Lease == nil {
		return out, nil
	}
	if err := t.c.take(ctx, t.id, *t.opts.Lease); err != nil {
		return nil, err
	}
	return out, nil
}
