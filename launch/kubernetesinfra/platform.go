package kubernetesinfra

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/flowship/flowship/launch"
)

var _ launch.PlatformDriver = (*Driver)(nil)

// Platform implements [launch.PlatformDriver]: that of the manifest's nodeSelector, else that of
// all nodes, if they have one in common and may be listed. Otherwise it is not known.
func (d *Driver) Platform(ctx context.Context, configured map[string]any) (launch.Platform, error) {
	job := &launch.Job{Configuration: configured}
	var c configuration
	if err := job.Configure(&c); err != nil {
		return launch.Platform{}, err
	}
	m, err := parseManifest(c.JobManifest)
	if err != nil {
		return launch.Platform{}, err
	}
	selector, _ := m.pod["nodeSelector"].(map[string]any)
	if arch, ok := selector[corev1.LabelArchStable].(string); ok && arch != "" {
		return launch.Platform{OS: "linux", Arch: arch}, nil
	}
	cluster, err := d.connect(c.ClusterConfig)
	if err != nil {
		return launch.Platform{}, err
	}
	var nodes corev1.NodeList
	if err := cluster.core.Get().Resource("nodes").Param("resourceVersion", "0").Do(ctx).Into(&nodes); err != nil {
		return launch.Platform{}, cluster.because(ctx, err)
	}
	return common(nodes.Items), nil
}

// common is the platform of all nodes that jobs may run on; zero if they have none in common.
func common(nodes []corev1.Node) (p launch.Platform) {
	for _, n := range nodes {
		at := launch.Platform{OS: n.Status.NodeInfo.OperatingSystem, Arch: n.Status.NodeInfo.Architecture}
		switch {
		case at.OS != "linux": // those of other systems take no jobs of this driver
		case p != launch.Platform{} && p != at:
			return launch.Platform{}
		default:
			p = at
		}
	}
	return p
}
