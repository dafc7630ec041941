package orchestrator

import "fmt"

// RunFacts is what the rules need to know about a run besides its state.
type RunFacts struct {
	Policy   Policy
	RunCount int
	// Pool is where a claim takes the run from. It may be nil for other proposals, and for a run
	// whose work pool does not exist: nothing holds that up.
	Pool *WorkPool
}

// Decide applies Prefect's rules for flow runs without a deployment: may proposed follow
// current? An outcome that was rejected may carry a third state with the ID of the proposed one,
// which a backend has to write. A run that has ended stays as it is.
func Decide(current, proposed State, run RunFacts) *Outcome {
	switch {
	case current.ID == proposed.ID:
		return again(current, proposed)
	case current.Type.Final():
		return &Outcome{Status: Aborted, State: current, Reason: fmt.Sprintf("the flow run is already in the terminal state %s", current.Name)}
	case current.Type == TypeCancelling && proposed.Type != TypeCancelled:
		return &Outcome{Status: Rejected, State: current, Reason: "the flow run is being cancelled"}
	case proposed.Type == TypePending && !maySubmit(current, proposed):
		return &Outcome{Status: Aborted, State: current, Reason: fmt.Sprintf("the flow run is %s and cannot become %s", current.Name, proposed.Name)}
	case proposed.Type == TypePending && current.Type == TypeScheduled:
		if reason := run.Pool.holdsUp(); reason != "" {
			return &Outcome{Status: Rejected, State: current, Reason: reason}
		}
	case proposed.Type == TypeCancelling && current.Type == TypeScheduled && !current.AwaitsRetry():
		proposed.Type, proposed.Name = TypeCancelled, TypeCancelled.defaultName()
		return &Outcome{Status: Rejected, State: proposed, Reason: "the flow run has no infrastructure yet and is cancelled at once"}
	case proposed.Type == TypeFailed && current.Type == TypeRunning && run.Policy.Retries > 0 && run.RunCount <= run.Policy.Retries:
		proposed.Type, proposed.Name = TypeScheduled, NameAwaitingRetry
		proposed.Scheduled = proposed.Timestamp.Add(run.Policy.RetryDelay)
		return &Outcome{Status: Rejected, State: proposed, Reason: fmt.Sprintf("the flow run is to be run again: retry %d of %d", run.RunCount, run.Policy.Retries)}
	}
	return &Outcome{Status: Accepted, State: proposed}
}

// again answers who proposes a state whose ID the current one has, such as somebody who did not
// get the first answer.
func again(current, proposed State) *Outcome {
	if current.Type != proposed.Type {
		return &Outcome{Status: Rejected, State: current, Reason: fmt.Sprintf("the flow run became %s instead", current.Name)}
	}
	return &Outcome{Status: Accepted, State: current}
}

// maySubmit: PENDING is the claim on a run, which only one can make; who made it may go on to
// PENDING states of other names.
func maySubmit(current, proposed State) bool {
	switch current.Type {
	case TypeScheduled:
		return !current.AwaitsRetry()
	case TypePaused:
		return true
	case TypePending:
		return proposed.Name != current.Name && proposed.Name != TypePending.defaultName()
	}
	return false
}

// holdsUp says why none of the pool's runs can be claimed now, "" if one can.
func (p *WorkPool) holdsUp() string {
	switch {
	case p == nil:
		return ""
	case p.Paused:
		return fmt.Sprintf("work pool %q is paused", p.Name)
	case p.ConcurrencyLimit != nil && p.ActiveSlots >= *p.ConcurrencyLimit:
		return fmt.Sprintf("work pool %q is at its concurrency limit of %d", p.Name, *p.ConcurrencyLimit)
	}
	return ""
}
