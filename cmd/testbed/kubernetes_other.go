//go:build !linux

package main

import "context"

func startKubernetes(context.Context, *place) ([]string, error) {
	return nil, &unavailableError{"testbed starts a Kubernetes cluster on Linux only"}
}
