package prefect

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// Interval is how often it makes sense to ask for states: a server has others to serve as well.
func (c *Client) Interval() time.Duration { return time.Second }

const (
	// notifyLast is the longest delay before a subscription that broke is made again, and
	// notifyRest that of one that was refused.
	notifyLast = time.Minute
	notifyRest = 5 * time.Minute
	// pingInterval is how often a subscription on which nothing comes is seen to be alive.
	pingInterval = 20 * time.Second
)

// notified are the states that [orchestrator.Notifier] tells of.
var notified = []orchestrator.StateType{
	orchestrator.TypeScheduled, orchestrator.TypeCancelling,
	orchestrator.TypeCompleted, orchestrator.TypeFailed, orchestrator.TypeCrashed, orchestrator.TypeCancelled,
}

// Notify implements [orchestrator.Notifier] by a subscription to the server's events. What
// happened while there was none is not told.
func (c *Client) Notify(ctx context.Context, heard func(flowRunID string, t orchestrator.StateType), connected func(bool)) {
	for delay := reconnectFirst; ; delay = min(2*delay, notifyLast) {
		began := time.Now()
		subscribed, err := c.subscribe(ctx, heard, connected)
		if subscribed {
			connected(false)
		}
		switch {
		case ctx.Err() != nil:
			return
		case refused(err):
			delay = notifyRest
		case time.Since(began) > notifyLast:
			delay = reconnectFirst
		}
		// Those whom the same server left do not all come back at once.
		if wait(ctx, time.Duration((0.5+rand.Float64()/2)*float64(delay))) != nil {
			return
		}
	}
}

// subscribe listens to events until the connection breaks.
func (c *Client) subscribe(ctx context.Context, heard func(string, orchestrator.StateType), connected func(bool)) (subscribed bool, err error) {
	s, err := c.dial(ctx, "/events/out")
	if err != nil {
		return false, err
	}
	defer s.drop()
	sending, cancel := context.WithTimeout(ctx, setupTime)
	err = s.send(sending, map[string]any{"type": "filter", "backfill": false, "filter": map[string]any{
		// The moments of events are the server's, whose clock need not be this one's.
		"occurred": map[string]any{"since": "2000-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z"},
		"event":    map[string]any{"prefix": []string{runEvent}},
		"resource": map[string]any{"id_prefix": []string{runEvent}, "labels": map[string]any{"prefect.state-type": notified}},
	}})
	cancel()
	if err != nil {
		return false, err
	}
	connected(true)

	listening, end := context.WithCancel(ctx)
	pinged := make(chan struct{})
	go func() {
		defer close(pinged)
		defer end()
		for wait(listening, pingInterval) == nil && s.ping(listening) == nil {
		}
	}()
	defer func() { end(); <-pinged }()
	for {
		message, err := s.read(listening)
		if err != nil {
			return true, err
		}
		if id, t, ok := change(message); ok {
			heard(id, t)
		}
	}
}

// runEvent is how the names of events and resources begin that are about flow runs.
const runEvent = "prefect.flow-run."

// change is what a message says about a flow run, if it is an event that does.
func change(message []byte) (flowRunID string, t orchestrator.StateType, ok bool) {
	var said struct {
		Type  string `json:"type"`
		Event struct {
			Resource struct {
				ID    string                 `json:"prefect.resource.id"`
				State orchestrator.StateType `json:"prefect.state-type"`
			} `json:"resource"`
		} `json:"event"`
	}
	if json.Unmarshal(message, &said) != nil || said.Type != "event" {
		return "", "", false
	}
	of := said.Event.Resource
	id, ok := strings.CutPrefix(of.ID, runEvent)
	return id, of.State, ok && id != "" && slices.Contains(notified, of.State)
}
