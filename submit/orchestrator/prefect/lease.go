package prefect

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// LeaseLength is how long leases should be here: each renewal is two requests.
const LeaseLength = 90 * time.Second

// A lease is a label of its run: when it expires, by the server's clock, and how long it is, or
// since when it is released. An empty one is forgotten; labels cannot be removed. The client that took a lease
// remembers which run it is of, so that only that client renews it.
const leaseReleased = "released "

// leaseLabel is the name of the label.
func leaseLabel(l orchestrator.Lease) string {
	word := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '-'
	}, strings.ToLower(l.Holder))
	return labelLease + word + "-" + l.ID[:min(8, len(l.ID))]
}

// expiry is the label's value.
func (c *Client) expiry(l orchestrator.Lease) string {
	return c.now().Add(l.Length).Format(time.RFC3339Nano) + " " + l.Length.String()
}

// sign is what a lease's label says.
type sign struct {
	holder   string
	released bool
	at       time.Time     // when it expires or was released
	length   time.Duration // of the lease
}

// signs are what the run's leases say, without those that are forgotten.
func (l labels) signs() (signs []sign) {
	for name, value := range l {
		word, ok := strings.CutPrefix(name, labelLease)
		if !ok || value == "" {
			continue
		}
		if i := strings.LastIndexByte(word, '-'); i > 0 {
			word = word[:i]
		}
		text, released := strings.CutPrefix(value, leaseReleased)
		text, rest, _ := strings.Cut(text, " ")
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			continue // not one of ours: it says nothing
		}
		length, err := time.ParseDuration(rest)
		if err != nil || length <= 0 {
			length = LeaseLength
		}
		signs = append(signs, sign{holder: word, released: released, at: at, length: length})
	}
	return signs
}

// leases are those that a client holds.
type leases struct {
	mu   sync.Mutex
	held map[string]string // the run of each, by its id
}

func (l *leases) add(run string, lease orchestrator.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]string{}
	}
	l.held[lease.ID] = run
}

func (l *leases) runOf(lease orchestrator.Lease) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	run, ok := l.held[lease.ID]
	return run, ok
}

func (l *leases) remove(lease orchestrator.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, lease.ID)
}

// drop removes those of the run.
func (l *leases) drop(run string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, r := range l.held {
		if r == run {
			delete(l.held, id)
		}
	}
}

// Hold implements [orchestrator.Leaser].
func (c *Client) Hold(ctx context.Context, flowRunID string, lease orchestrator.Lease) error {
	run, err := c.read(ctx, flowRunID)
	if err == nil && run.current().Type.Final() {
		err = orchestrator.ErrLeaseLost
	}
	if err == nil {
		err = c.take(ctx, run.ID, lease)
	}
	if err != nil {
		return about("flow run", flowRunID, fmt.Errorf("hold it: %w", err))
	}
	return nil
}

// take writes the lease, and remembers it.
func (c *Client) take(ctx context.Context, run string, lease orchestrator.Lease) error {
	if err := c.write(ctx, run, map[string]string{leaseLabel(lease): c.expiry(lease)}); err != nil {
		return err
	}
	c.leases.add(run, lease)
	return nil
}

// write adds labels of leases. One that gets lost because others add labels as well comes again
// with the next renewal.
func (c *Client) write(ctx context.Context, run string, added map[string]string) error {
	unlock, err := c.labelling.lock(ctx, run)
	if err != nil {
		return err
	}
	defer unlock()
	return c.callFlowRun(ctx, http.MethodPatch, run, "/labels", added, nil)
}

// Renew implements [orchestrator.Leaser].
func (c *Client) Renew(ctx context.Context, lease orchestrator.Lease) error {
	id, ok := c.leases.runOf(lease)
	if !ok {
		return fmt.Errorf("prefect: %w", orchestrator.ErrLeaseLost)
	}
	run, err := c.read(ctx, id)
	if err == nil && !run.mayHave(lease) || isNotFound(err) {
		c.leases.remove(lease)
		err = orchestrator.ErrLeaseLost
	}
	if err == nil {
		err = c.write(ctx, id, map[string]string{leaseLabel(lease): c.expiry(lease)})
	}
	if err != nil {
		return about("flow run", id, fmt.Errorf("renew the lease: %w", err))
	}
	return nil
}

// mayHave reports whether whoever took the lease still has a part in the run: not after its end,
// not when it waits for anybody, and not when others have taken it since.
func (r *flowRun) mayHave(lease orchestrator.Lease) bool {
	s := r.current()
	value, there := r.Labels[leaseLabel(lease)]
	forgotten := there && value == ""
	return !s.Type.Final() && (s.Type != orchestrator.TypeScheduled || s.AwaitsRetry()) && !forgotten
}

// Release implements [orchestrator.Leaser].
func (c *Client) Release(ctx context.Context, lease orchestrator.Lease) error {
	id, ok := c.leases.runOf(lease)
	if !ok {
		return nil
	}
	err := c.write(ctx, id, map[string]string{leaseLabel(lease): leaseReleased + c.now().Format(time.RFC3339Nano)})
	if err != nil && !isNotFound(err) {
		return about("flow run", id, fmt.Errorf("release the lease: %w", err))
	}
	c.leases.remove(lease)
	return nil
}

// forgetLeases forgets all leases of the run, whoever holds them.
func (c *Client) forgetLeases(ctx context.Context, run *flowRun) error {
	none := map[string]string{}
	for name, value := range run.Labels {
		if strings.HasPrefix(name, labelLease) && value != "" {
			none[name] = ""
		}
	}
	c.leases.drop(run.ID)
	if len(none) == 0 {
		return nil
	}
	return c.write(ctx, run.ID, none)
}
