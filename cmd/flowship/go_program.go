package main

import (
	"context"
	"errors"
	"os/exec"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/submit"
)

// buildProgram builds the Go program that the target's flow is in, for a platform.
func buildProgram(ctx context.Context, c *console, t *target, platform launch.Platform) (*submit.Program, error) {
	p := c.startProgress("building", 0)
	defer p.stop()
	program, err := submit.BuildProgram(ctx, t.program, &submit.BuildOptions{OS: platform.OS, Arch: platform.Arch})
	var failed *exec.ExitError
	switch {
	case err == nil || ctx.Err() != nil:
		return program, err
	case errors.Is(err, exec.ErrNotFound):
		return nil, &hinted{err: err, kind: kind(bundle.KindNotFound), hint: "install Go and put it into PATH: https://go.dev/dl"}
	case errors.As(err, &failed):
		return nil, &hinted{err: err, kind: kindUsage, hint: "go build must succeed there; a program may also be run as a command: -- ./program"}
	}
	return nil, err
}
