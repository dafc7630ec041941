package submit

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"
)

// Wait waits until all runs have ended, or ctx has. It returns those that have ended and those
// that have not, or of which nothing could be learnt, both in the given order. Futures of one
// run count once.
func Wait(ctx context.Context, futures ...AnyFuture) (done, pending []AnyFuture) {
	futures = distinct(futures)
	ended := make([]bool, len(futures))
	var waiting sync.WaitGroup
	for i, f := range futures {
		waiting.Go(func() {
			_, err := f.ask(ctx, submitter.Wait)
			if err != nil && ctx.Err() != nil {
				// It may have ended before ctx did.
				var now State
				now, err = stateNow(ctx, f)
				ended[i] = err == nil && now.Type.Final()
				return
			}
			ended[i] = err == nil
		})
	}
	waiting.Wait()
	for i, f := range futures {
		if ended[i] {
			done = append(done, f)
		} else {
			pending = append(pending, f)
		}
	}
	return done, pending
}

// stateNow asks for the state also when ctx has ended, though then not for long.
func stateNow(ctx context.Context, f AnyFuture) (State, error) {
	if ctx.Err() != nil {
		short, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer stop()
		ctx = short
	}
	return f.ask(ctx, submitter.State)
}

// AsCompleted yields each run once, when it has ended: those that have already first, in the
// given order, then the others as they end. With a future of which nothing can be learnt comes
// the error that says why. Futures of one run count once.
//
// When ctx ends first, a last pair tells how many are unfinished and holds the first of these;
// its error is that of ctx.
func AsCompleted(ctx context.Context, futures ...AnyFuture) iter.Seq2[AnyFuture, error] {
	return func(yield func(AnyFuture, error) bool) {
		for f, err := range asCompleted(ctx, futures) {
			if !yield(f, ours(err)) {
				return
			}
		}
	}
}

func asCompleted(ctx context.Context, futures []AnyFuture) iter.Seq2[AnyFuture, error] {
	return func(yield func(AnyFuture, error) bool) {
		left := distinct(futures)
		all := len(left)
		// Before anybody waits: what has ended already shall not depend on who is quicker.
		for _, f := range slices.Clone(left) {
			state, err := stateNow(ctx, f)
			if err != nil && ctx.Err() != nil {
				break
			}
			if err == nil && !state.Type.Final() {
				continue
			}
			left = slices.DeleteFunc(left, sameRun(f))
			if !yield(f, err) {
				return
			}
		}
		waiting, stop := context.WithCancel(ctx)
		ended := waitForEach(waiting, left)
		defer func() {
			stop()
			for range ended { // until nobody waits any more
			}
		}()
		for len(left) > 0 {
			batch := together(ended)
			batch = slices.DeleteFunc(batch, func(e end) bool { return e.err != nil && ctx.Err() != nil })
			if len(batch) == 0 {
				break
			}
			for _, e := range batch {
				left = slices.DeleteFunc(left, sameRun(e.future))
				if !yield(e.future, e.err) {
					return
				}
			}
		}
		if len(left) > 0 {
			yield(left[0], fmt.Errorf("%d (of %d) futures unfinished: %w", len(left), all, endOf(ctx)))
		}
	}
}

// end is a run's, or that of waiting for it.
type end struct {
	future AnyFuture
	state  State
	err    error
}

// together receives what is there, at least one unless the channel is closed, in the order in
// which the runs ended.
func together(ended <-chan end) []end {
	var batch []end
	if e, ok := <-ended; ok {
		batch = append(batch, e)
	}
	for {
		select {
		case e, ok := <-ended:
			if ok {
				batch = append(batch, e)
				continue
			}
		default:
		}
		slices.SortStableFunc(batch, func(a, b end) int { return a.state.Timestamp.Compare(b.state.Timestamp) })
		return batch
	}
}

// waitForEach sends the ends as they come, and closes the channel after the last one.
func waitForEach(ctx context.Context, futures []AnyFuture) <-chan end {
	ended := make(chan end, len(futures))
	var waiting sync.WaitGroup
	for _, f := range futures {
		waiting.Go(func() {
			state, err := f.ask(ctx, submitter.Wait)
			ended <- end{f, state, err}
		})
	}
	go func() {
		waiting.Wait()
		close(ended)
	}()
	return ended
}

// endOf is why ctx ended, in a form that is its Err as well.
func endOf(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

// distinct leaves out what stands for the same run as something before it, and nil.
func distinct(futures []AnyFuture) []AnyFuture {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(futures), func(f AnyFuture) bool {
		if f == nil || seen[f.ID()] {
			return true
		}
		seen[f.ID()] = true
		return false
	})
}

func sameRun(f AnyFuture) func(AnyFuture) bool {
	return func(other AnyFuture) bool { return other.ID() == f.ID() }
}
