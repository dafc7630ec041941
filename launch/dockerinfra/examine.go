package dockerinfra

import (
	"context"
	"fmt"

	"github.com/moby/moby/client"
)

// Examine implements [launch.Examiner].
func (d *Driver) Examine(ctx context.Context) (string, error) {
	e, err := d.connect()
	if err != nil {
		return "", err
	}
	if _, err := e.agree(ctx); err != nil {
		return "", err
	}
	v, err := e.api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return "", e.because(ctx, err)
	}
	return fmt.Sprintf("Docker %s at %s, %s/%s", v.Version, e.host, v.Os, v.Arch), nil
}
