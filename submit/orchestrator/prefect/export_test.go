package prefect

import (
	"context"
	"encoding/json"
	"time"

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

// NobodyThere says whether it makes no sense to try again.
func NobodyThere(err error) bool { return nobodyThere(err) }
