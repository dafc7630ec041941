package prefect

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

// Waiting has a client tell how long it would wait, instead of waiting.
func (c *Client) Waiting(tell func(time.Duration)) {
	c.wait = func(ctx context.Context, d time.Duration) error {
		tell(d)
		return ctx.Err()
	}
}

// Post sends a request that changes something.
func (c *Client) Post(ctx context.Context, path string, body any) error {
	return c.call(ctx, "POST", path, body, nil)
}

// EditProfile edits the text of profiles.toml.
func EditProfile(text, profile, value string) (string, error) {
	return editProfile(text, profile, defaultPoolSettings, value)
}

// LookForLosses sets how often the client looks for lost runs.
func (c *Client) LookForLosses(interval time.Duration) { c.lossInterval = interval }

// CountRuns counts the runs of the flow.
func (c *Client) CountRuns(ctx context.Context, flow string) (n int, err error) {
	body := filter{"flows": filter{"name": filter{"any_": []string{flow}}}}
	err = c.call(ctx, "POST", "/flow_runs/count", body, &n)
	return n, err
}

// Understand does with an answer whatever is done with any.
func Understand(text []byte) {
	var runs []*flowRun
	var run flowRun
	if json.Unmarshal(text, &run) == nil {
		runs = append(runs, &run)
	}
	var several []*flowRun
	if json.Unmarshal(text, &several) == nil {
		runs = append(runs, several...)
	}
	for _, r := range runs {
		if r == nil {
			continue
		}
		p := r.public("f")
		if p.Policy.Retries < 0 || p.Policy.RetryDelay < 0 || p.Labels == nil || !json.Valid(p.Submission) || !json.Valid(p.JobVariables) {
			panic(fmt.Sprintf("%+v", p))
		}
		r.lost(time.Now())
		r.mayHave(orchestrator.Lease{})
		r.due()
		r.priority()
	}
	var states []state
	json.Unmarshal(text, &states)
	for _, s := range states {
		s.public()
	}
	var o orchestrated
	json.Unmarshal(text, &o)
	if o.Details.Delay < 0 {
		panic("it waits backwards")
	}
	var lines []logLine
	json.Unmarshal(text, &lines)
	seen := newSeenLog("r")
	for i := range lines {
		if id, err := uuid.Parse(lines[i].ID); err == nil {
			seen.number(&lines[i], id)
		}
	}
	seen.start(time.Now())
	(&response{body: text}).detail()
}

// Call sends a request.
func (c *Client) Call(ctx context.Context, method, path string, body, answer any) error {
	return c.call(ctx, method, path, body, answer)
}

// Change reads a message of a subscription.
func Change(message []byte) (string, orchestrator.StateType, bool) { return change(message) }

// Ready reads a message of a worker's channel.
func Ready(message []byte, consumer string) bool {
	var r received
	return json.Unmarshal(message, &r) == nil && r.ready(consumer)
}
