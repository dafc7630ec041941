//go:build !linux

package main

import "context"

func makeImage(context.Context, *place) ([]string, error) {
	return nil, &unavailableError{"testbed makes its image with Python of a Linux system"}
}
