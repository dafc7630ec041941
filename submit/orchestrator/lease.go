package orchestrator

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
)

// ErrLeaseLost: the flow run was ended, or somebody took its end for granted. Whoever held the
// lease shall stop what it does for the run.
var ErrLeaseLost = errors.New("the lease is gone")

// Lease says that somebody looks after a flow run, and lives. A run has as many as there are
// parties to it: its submitter, its executor. As long as one of them is held, the run goes on;
// when none is left, it is lost, and who looks next ends it, or takes it up, see [Resumer]. The
// end of a run ends its leases.
type Lease struct {
	ID     string        // a UUID, made by the holder
	Holder string        // what the holder is to the run, for people: "submitter", "executor"
	Length time.Duration // how long it holds without being renewed
}

// LeaseLength is the usual length of a lease.
const LeaseLength = 30 * time.Second

// NewLease makes a lease that was not taken yet. A length of 0 is [LeaseLength].
func NewLease(holder string, length time.Duration) Lease {
	if length <= 0 {
		length = LeaseLength
	}
	return Lease{ID: uuid.NewString(), Holder: holder, Length: length}
}

// renewals is how often a lease is renewed in its length.
const renewals = 6

// Interval is how often the lease is to be renewed.
func (l Lease) Interval() time.Duration { return max(l.Length/renewals, time.Millisecond) }

// Leaser is what those need who look after a flow run.
type Leaser interface {
	// Hold takes the lease. When the run has ended, it is ErrLeaseLost.
	Hold(ctx context.Context, flowRunID string, lease Lease) error
	// Renew says that the holder still lives, or learns that it is ErrLeaseLost.
	Renew(ctx context.Context, lease Lease) error
	// Release gives the lease up while the run goes on. Without any other holder, the run is
	// lost from then on.
	Release(ctx context.Context, lease Lease) error
}

// LossEnder is what those need who want to see the truth.
type LossEnder interface {
	// EndLost ends the runs that are under way, see [State.UnderWay], and that nobody looks
	// after any more: CRASHED, or CANCELLED if they were CANCELLING, with a message that says
	// who disappeared. Of several callers one ends a run. It returns how many it ended. Those that
	// can be taken up, see [Resumer], it ends only when that has not happened for [JobPatience].
	EndLost(ctx context.Context) (int, error)
}

// JobPatience is how long a run is not ended that nobody looks after, while its job may go on: from
// when that was first noticed, or nobody was found who looked after it for a while.
const JobPatience = 10 * time.Minute

// PlatformProcess is the type of the work pools whose jobs end with who launched them.
const PlatformProcess = "process"

// Resumer is what those need who take up runs that nobody looks after any more.
type Resumer interface {
	// Abandoned returns the ids of the runs that are under way, that nobody looks after any more and
	// whose jobs may go on without: their infrastructure is known, and no local process.
	Abandoned(ctx context.Context) ([]string, error)
	// TakeUp takes the lease on such a run, in place of those who are gone. It is false when
	// somebody looks after the run, or it has ended. Of several callers one gets it.
	TakeUp(ctx context.Context, flowRunID string, lease Lease) (bool, error)
}

// Keep renews a lease that was taken, until stop is called; stop waits for that. The returned
// context ends with ctx, or with the cause ErrLeaseLost when the lease is gone.
//
// The lease is renewed also after ctx has ended: what follows may take its time. That it could
// not be renewed for another reason does not end the context, because nobody may have noticed.
func Keep(ctx context.Context, leaser Leaser, lease Lease) (held context.Context, stop func()) {
	held, lose := context.WithCancelCause(ctx)
	renewing, end := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(lease.Interval())
		defer tick.Stop()
		for {
			select {
			case <-renewing.Done():
				return
			case <-tick.C:
			}
			if err := leaser.Renew(renewing, lease); errors.Is(err, ErrLeaseLost) {
				lose(err)
				return
			}
		}
	}()
	return held, func() {
		end()
		<-done
		lose(nil)
	}
}
