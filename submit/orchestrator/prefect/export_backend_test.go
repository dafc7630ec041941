package prefect

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

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

// Lost says who left the run with these labels, since it is in the state, and whether it is lost. A
// retry that it awaits is its executor's.
func Lost(labels map[string]string, s orchestrator.State, now time.Time) ([]string, bool) {
	run := flowRun{Labels: labels, State: &state{Type: s.Type, Name: s.Name, Timestamp: moment{s.Timestamp}}, Policy: policy{RetryType: retryInProcess}}
	l := run.lost(now)
	if l == nil {
		return nil, false
	}
	return l.why, true
}
