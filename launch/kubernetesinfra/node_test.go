package kubernetesinfra_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/infratest"
	"github.com/flowship/flowship/launch/kubernetesinfra"
)

// A node goes away with a pod on it: the cluster tells the pod to end, and nobody ever says that it
// has. The job ends all the same, whether that was the cluster's doing or ours.
func TestNodeGone(t *testing.T) {
	file := kubeconfig(t)
	for _, stopped := range []bool{false, true} {
		name := "deleted"
		if stopped {
			name = "stopped"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, file)
			namespace := a.namespace()
			// A node without a kubelet, whose part is played here.
			node := namespace + "-node"
			a.must("POST", "/api/v1/nodes", map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": node}, "spec": map[string]any{"unschedulable": true}}, nil)
			t.Cleanup(func() { a.must("DELETE", "/api/v1/nodes/"+node, nil, nil) })
			infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
			configuration := within(configure(t, infra, namespace, map[string]any{"pod_watch_timeout_seconds": 2}), node, "spec", "template", "spec", "nodeName")
			var notes infratest.Output
			r := start(t, infra, launch.Job{Configuration: configuration, Command: sh("exit 0"), Stderr: &notes})
			pods := "/api/v1/namespaces/" + namespace + "/pods"
			until(t, "there is a pod", func() bool { return len(a.count(pods)) == 1 })
			pod := pods + "/" + a.count(pods)[0]
			t.Cleanup(func() {
				a.do("DELETE", pod, map[string]any{"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}, nil)
			})
			now := time.Now().UTC().Format(time.RFC3339)
			a.must("PATCH", pod+"/status", map[string]any{"status": map[string]any{"phase": "Running", "startTime": now, "containerStatuses": []any{map[string]any{
				"name": "prefect-job", "image": testImage, "imageID": "x", "ready": true, "restartCount": 0, "state": map[string]any{"running": map[string]any{"startedAt": now}},
			}}}}, nil)
			want := `the pod was to end, and its node "` + node + `" does not say that it has`
			if !stopped {
				a.must("DELETE", pod, map[string]any{"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 1}, nil)
				if exit, err := waitFor(t, r); exit != nil || err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("exit %+v, %v, want %s", exit, err, want)
				}
				return
			}
			if err := r.Stop(t.Context(), time.Second); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&launch.Exit{Code: 143, Signal: 15, Reason: want}, wait(t, r)); diff != "" {
				t.Errorf("exit (-want +got):\n%s", diff)
			}
		})
	}
}
