package kubernetesinfra

import (
	"context"
	"encoding/json"
	"fmt"

	"k8s.io/apimachinery/pkg/version"
)

// Examine implements [launch.Examiner]. It is about the cluster of jobs without a cluster_config.
func (d *Driver) Examine(ctx context.Context) (string, error) {
	c, err := d.connect(nil)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	said, err := c.core.Get().AbsPath("/version").DoRaw(ctx)
	if err != nil {
		return "", c.because(ctx, err)
	}
	var v version.Info
	if err := json.Unmarshal(said, &v); err != nil {
		return "", fmt.Errorf("the Kubernetes cluster at %q does not say its version: %w", c.host, err)
	}
	return fmt.Sprintf("Kubernetes %s at %s", v.GitVersion, c.host), nil
}
