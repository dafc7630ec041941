package submit

import (
	"context"
	"errors"

	"github.com/flowship/flowship/submit/orchestrator"
)

type Program struct{ Path, OS, Arch string }

var errPending = errors.New("pending")

func (c *Client) Submit(context.Context, Invocation) (*Run, error)           { return nil, errPending }
func (c *Client) SubmitToWorkPool(context.Context, Invocation) (*Run, error) { return nil, errPending }
func (c *Client) State(context.Context, string) (orchestrator.State, error) {
	return orchestrator.State{}, errPending
}
func (c *Client) Wait(context.Context, string) (orchestrator.State, error) {
	return orchestrator.State{}, errPending
}
func (c *Client) Cancel(context.Context, string) (orchestrator.State, error) {
	return orchestrator.State{}, errPending
}
func (c *Client) Launch(context.Context, string, func()) error { return errPending }
