package launch

import (
	"context"
	"fmt"
)

// Examiner is a driver that can say what it talks to.
type Examiner interface {
	// Examine asks the platform who it is, such as "Docker 28.2.2 at unix:///var/run/docker.sock".
	// Its error says why no job could be started there.
	Examine(ctx context.Context) (string, error)
}

// Examine says what jobs would run on; "" if the driver is no [Examiner].
func (i *Infrastructure) Examine(ctx context.Context) (string, error) {
	examiner, ok := i.driver.(Examiner)
	if !ok {
		return "", nil
	}
	said, err := examiner.Examine(ctx)
	if err != nil {
		return "", fmt.Errorf("launch: %s: %w", i.kind, err)
	}
	return said, nil
}
