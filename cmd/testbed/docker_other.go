//go:build !linux

package main

import "context"

func (p *place) ownDocker(context.Context) (*dockerClient, error) {
	return nil, &unavailableError{"no Docker engine answers, and testbed starts one on Linux only"}
}
