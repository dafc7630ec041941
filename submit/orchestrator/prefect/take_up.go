package prefect

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

const (
	// settleTime is longer than a server takes to write a label.
	settleTime = 500 * time.Millisecond
	// claimTime is how long a claim lasts of somebody who is gone.
	claimTime = 20 * time.Second
)

// TakeUp implements [orchestrator.Resumer]. The server knows no leases: who wants one says so at the
// run, waits for others to do the same, and has it if nobody else has, or comes first in the
// alphabet. Only where a server takes longer for that than half a second, two may get a run.
func (c *Client) TakeUp(ctx context.Context, flowRunID string, lease orchestrator.Lease) (bool, error) {
	taken, err := c.takeUp(ctx, flowRunID, lease)
	if err != nil {
		return false, about("flow run", flowRunID, fmt.Errorf("take it up: %w", err))
	}
	return taken, nil
}

func (c *Client) takeUp(ctx context.Context, id string, lease orchestrator.Lease) (bool, error) {
	run, err := c.read(ctx, id)
	if err != nil {
		return false, err
	}
	v, err := c.judge(ctx, run)
	if err != nil || !v.abandoned {
		return false, err
	}
	mine := labelClaim + lease.ID[:min(8, len(lease.ID))]
	if err := c.write(ctx, run.ID, map[string]string{mine: c.now().Format(time.RFC3339Nano)}); err != nil {
		return false, err
	}
	if err := c.wait(ctx, settleTime); err != nil {
		return false, err
	}
	if run, err = c.read(ctx, id); err != nil {
		return false, err
	}
	// An executor that was silent for long may have come back.
	held := slices.ContainsFunc(run.Labels.signs(), func(s sign) bool { return !s.released && s.at.After(c.now()) })
	if held || run.Labels.firstClaim(c.now()) != mine || !run.current().UnderWay() {
		return false, c.write(ctx, run.ID, map[string]string{mine: ""})
	}
	if err := c.write(ctx, run.ID, map[string]string{leaseLabel(lease): c.expiry(lease), labelDoubt: "", mine: ""}); err != nil {
		return false, err
	}
	c.leases.add(run.ID, lease)
	return true, nil
}

// firstClaim is the label of the claim that counts, or "".
func (l labels) firstClaim(now time.Time) (first string) {
	for name, value := range l {
		at, err := time.Parse(time.RFC3339Nano, value)
		if !strings.HasPrefix(name, labelClaim) || err != nil || now.Sub(at) > claimTime {
			continue
		}
		if first == "" || name < first {
			first = name
		}
	}
	return first
}
