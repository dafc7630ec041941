package local

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// Hold implements [orchestrator.Leaser].
func (o *Orchestrator) Hold(ctx context.Context, flowRunID string, l orchestrator.Lease) error {
	err := o.transact(ctx, func(tx *transaction) error {
		run, err := standsAt(ctx, tx, flowRunID, "")
		if err != nil {
			return err
		}
		if run.state.Type.Final() {
			return fmt.Errorf("the flow run is already in the terminal state %s: %w", run.state.Name, orchestrator.ErrLeaseLost)
		}
		return o.insertLease(ctx, tx, flowRunID, l)
	})
	if err != nil {
		return aboutRun(flowRunID, err)
	}
	return nil
}

func (o *Orchestrator) insertLease(ctx context.Context, tx *transaction, flowRunID string, l orchestrator.Lease) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO lease (id, flow_run_id, holder, process, length, renewed) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET renewed = excluded.renewed, doubted = NULL`,
		l.ID, flowRunID, l.Holder, o.self(), l.Length.Microseconds(), o.now().UnixMicro())
	return err
}

// Renew implements [orchestrator.Leaser].
func (o *Orchestrator) Renew(ctx context.Context, l orchestrator.Lease) error {
	result, err := o.exec(ctx, "UPDATE lease SET renewed = ?, doubted = NULL WHERE id = ?", o.now().UnixMicro(), l.ID)
	if err == nil {
		err = wantRow(result, orchestrator.ErrLeaseLost)
	}
	if err != nil {
		return fmt.Errorf("orchestrator: renew the %s's lease: %w", l.Holder, err)
	}
	return nil
}

// Release implements [orchestrator.Leaser].
func (o *Orchestrator) Release(ctx context.Context, l orchestrator.Lease) error {
	if _, err := o.exec(ctx, "DELETE FROM lease WHERE id = ?", l.ID); err != nil {
		return fmt.Errorf("orchestrator: release the %s's lease: %w", l.Holder, err)
	}
	return nil
}

// lease is a row of the unfinished runs with their leases.
type lease struct {
	flowRunID string
	state     orchestrator.StateType
	id        string // "" for a run that has none
	holder    string
	process   string
	length    time.Duration
	renewed   time.Time
	doubted   time.Time // zero: nobody did

	// Of the run:
	elsewhere bool      // its job may go on without those who watched it
	missed    time.Time // when it was first noticed that nobody looks after it; zero: it was not
}

// watched returns the leases of the runs that need one, or of the one with this id; those of a run
// together.
func watched(ctx context.Context, db querier, id string) ([]*lease, error) {
	one, args := "", []any{orchestrator.PlatformProcess}
	if id != "" {
		one, args = " AND r.id = ?2", append(args, id)
	}
	return all(ctx, db, scanLease, `
		SELECT r.id, r.state_type, coalesce(l.id, ''), coalesce(l.holder, ''), coalesce(l.process, ''), coalesce(l.length, 0), coalesce(l.renewed, 0), l.doubted,
			r.infrastructure <> '' AND EXISTS (SELECT 1 FROM work_pool p WHERE p.name = r.work_pool AND p.type <> ?1), r.missed
		FROM flow_run r LEFT JOIN lease l ON l.flow_run_id = r.id
		WHERE r.under_way = 1`+one+` ORDER BY r.id, l.rowid`, args...)
}

func scanLease(row scanner) (*lease, error) {
	l := &lease{}
	err := row.Scan(&l.flowRunID, &l.state, &l.id, &l.holder, &l.process, micros{&l.length}, moment{&l.renewed}, moment{&l.doubted}, &l.elsewhere, moment{&l.missed})
	return l, err
}

// standing is what is to be thought of a lease.
type standing int

const (
	held     standing = iota
	doubtful          // it looks expired, which is to be noted
	doubted           // it was noted, and its holder still has time
	gone
)

// patience is how much longer the lease of a process lasts that is there and does not renew it.
const patience = 20

func (l *lease) judge(now time.Time, process life) (s standing, why string) {
	longest := l.length
	switch process {
	case lifeEnded:
		return gone, fmt.Sprintf("the %s (process %s) has ended", l.holder, pidOf(l.process))
	case lifeGoesOn:
		longest *= patience
	}
	switch age := now.Sub(l.renewed); {
	case l.id == "":
		return gone, "no one is known who did"
	case -l.length <= age && age <= longest:
		return held, ""
	case l.doubted.IsZero(), l.doubted.After(now):
		return doubtful, ""
	case now.Sub(l.doubted) < l.length/3:
		return doubted, ""
	}
	return gone, fmt.Sprintf("the %s has given no sign of life since %s", l.holder, l.renewed.Format(time.RFC3339))
}

// EndLost implements [orchestrator.LossEnder].
func (o *Orchestrator) EndLost(ctx context.Context) (int, error) {
	// To look costs nothing; the file is locked only if there is something to do.
	leases, err := watched(ctx, o.db, "")
	if err != nil {
		return 0, fmt.Errorf("orchestrator: leases: %w", err)
	}
	if !slices.ContainsFunc(o.review(leases), verdict.writes) {
		return 0, nil
	}
	ended := 0
	err = o.transact(ctx, func(tx *transaction) error {
		leases, err := watched(ctx, tx, "")
		if err != nil {
			return err
		}
		for _, v := range o.review(leases) {
			if err := o.enforce(ctx, tx, v); err != nil {
				return err
			}
			if v.lost {
				ended++
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("orchestrator: end lost flow runs: %w", err)
	}
	return ended, nil
}

// Abandoned implements [orchestrator.Resumer].
func (o *Orchestrator) Abandoned(ctx context.Context) ([]string, error) {
	leases, err := watched(ctx, o.db, "")
	if err != nil {
		return nil, fmt.Errorf("orchestrator: leases: %w", err)
	}
	var ids []string
	for _, v := range o.review(leases) {
		if v.abandoned {
			ids = append(ids, v.flowRunID)
		}
	}
	return ids, nil
}

// TakeUp implements [orchestrator.Resumer].
func (o *Orchestrator) TakeUp(ctx context.Context, flowRunID string, l orchestrator.Lease) (taken bool, err error) {
	err = o.transact(ctx, func(tx *transaction) error {
		leases, err := watched(ctx, tx, flowRunID)
		if err != nil {
			return err
		}
		if verdicts := o.review(leases); len(verdicts) != 1 || !verdicts[0].abandoned {
			return nil
		}
		for _, statement := range []string{"DELETE FROM lease WHERE flow_run_id = ?", "UPDATE flow_run SET missed = NULL WHERE id = ?"} {
			if _, err := tx.ExecContext(ctx, statement, flowRunID); err != nil {
				return err
			}
		}
		taken = true
		return o.insertLease(ctx, tx, flowRunID, l)
	})
	if err != nil {
		return false, aboutRun(flowRunID, fmt.Errorf("take it up: %w", err))
	}
	return taken, nil
}

// verdict is what is to be thought of an unfinished run, and has to be written about it.
type verdict struct {
	flowRunID string
	state     orchestrator.StateType
	abandoned bool // it can be taken up
	missed    bool // that is to be noted
	lost      bool
	why       []string // it is lost
	doubtful  []string // leases
}

func (v verdict) writes() bool { return v.lost || v.missed || len(v.doubtful) > 0 }

// review returns the runs of which there is something to be thought.
func (o *Orchestrator) review(leases []*lease) []verdict {
	now, self := o.now(), o.self()
	lives := map[string]life{} // a process may hold many
	var verdicts []verdict
	for len(leases) > 0 {
		first := leases[0]
		v := verdict{flowRunID: first.flowRunID, state: first.state, lost: true}
		for len(leases) > 0 && leases[0].flowRunID == v.flowRunID {
			process := leases[0].process
			if _, known := lives[process]; !known {
				lives[process] = lifeOf(process, self)
			}
			s, why := leases[0].judge(now, lives[process])
			switch s {
			case gone:
				v.why = append(v.why, why)
			case doubtful:
				v.doubtful = append(v.doubtful, leases[0].id)
			}
			v.lost = v.lost && s == gone
			leases = leases[1:]
		}
		if v.lost && first.elsewhere {
			v.abandoned = true
			v.missed = first.missed.IsZero() || first.missed.After(now)
			v.lost = !v.missed && now.Sub(first.missed) >= orchestrator.JobPatience
			v.why = append(v.why, fmt.Sprintf("and its job could not be looked for within %v", orchestrator.JobPatience))
		}
		if v.lost || v.abandoned || len(v.doubtful) > 0 {
			verdicts = append(verdicts, v)
		}
	}
	return verdicts
}

func (o *Orchestrator) enforce(ctx context.Context, tx *transaction, v verdict) error {
	for _, id := range v.doubtful {
		if _, err := tx.ExecContext(ctx, "UPDATE lease SET doubted = ? WHERE id = ?", o.now().UnixMicro(), id); err != nil {
			return err
		}
	}
	if v.missed {
		if _, err := tx.ExecContext(ctx, "UPDATE flow_run SET missed = ? WHERE id = ?", o.now().UnixMicro(), v.flowRunID); err != nil {
			return err
		}
	}
	if !v.lost {
		return nil
	}
	state := orchestrator.TypeCrashed
	if v.state == orchestrator.TypeCancelling {
		state = orchestrator.TypeCancelled
	}
	message := "nobody looks after the run any more: " + strings.Join(v.why, ", ")
	return setState(ctx, tx, v.flowRunID, "", orchestrator.NewState(state, message))
}
