//go:build linux

package main

import (
	"encoding/json"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// A worker in a pod of the cluster finds the API server and its own account there, which may no more than rbac.yaml says; that is enough for
// what it launches, and to say why something does not start.
func TestWorkerInsideTheCluster(t *testing.T) {
	h, open := newHarbourOnKubernetes(t)
	open.Store(true)
	c := newCluster(t)
	namespace := c.namespace()
	c.account(namespace)
	image := started.Server(t, "registry", "FLOWSHIP_TEST_REGISTRY") + "/harbour/worker:1"
	h.flowship("image", "build", "--base", filepath.Join(h.dir, "base.tar"), "-t", image, "--executor", h.program, "--push")
	h.flowship(append(append([]string{"submit-to-work-pool", "--name", "inside", "-v", "namespace=" + namespace}, h.variables...), h.job("")...)...)
	h.flowship(append(append([]string{"submit-to-work-pool", "--name", "broken", "-v", "namespace=" + namespace, "-v", "service_account_name=nonesuch", "-v", "pod_watch_timeout_seconds=3"}, h.variables...), h.job("")...)...)

	server, err := url.Parse(c.host)
	if err != nil {
		t.Fatal(err)
	}
	type variable struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	// The pod shares the node's network, in which the API server has another address than within the cluster.
	env := []variable{{"KUBERNETES_SERVICE_HOST", server.Hostname()}, {"KUBERNETES_SERVICE_PORT", server.Port()}, {"HOME", "/"}}
	for _, v := range h.env {
		if name, value, _ := strings.Cut(v, "="); name == "FLOWSHIP_HOME" || strings.HasPrefix(name, "AWS_") && !strings.HasSuffix(name, "_BUNDLE") {
			env = append(env, variable{name, value})
		}
	}
	pod, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "worker"},
		"spec": map[string]any{
			"serviceAccountName": "flowship", "hostNetwork": true, "restartPolicy": "Never",
			"containers": []any{map[string]any{
				"name": "worker", "image": image, "command": []string{"/usr/local/bin/flowship", "worker", "start", "--pool", "cluster", "--run-once"}, "env": env,
				"volumeMounts": []any{map[string]any{"name": "home", "mountPath": h.dir}},
			}},
			"volumes": []any{map[string]any{"name": "home", "hostPath": map[string]any{"path": h.dir}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := "/api/v1/namespaces/" + namespace + "/pods"
	c.must("POST", path, string(pod))
	var phase struct{ Status struct{ Phase string } }
	c.eventually("the worker has ended", func() bool {
		if err := json.Unmarshal([]byte(c.must("GET", path+"/worker", "")), &phase); err != nil {
			t.Fatal(err)
		}
		return phase.Status.Phase == "Succeeded" || phase.Status.Phase == "Failed"
	})
	said := c.must("GET", path+"/worker/log", "")
	if phase.Status.Phase != "Succeeded" {
		t.Errorf("the worker: %s\n%s", phase.Status.Phase, said)
	}
	h.wantDone("inside")
	if got := h.inspect("broken"); got.State.Type != "CRASHED" || !strings.Contains(got.State.Message, `"nonesuch" not found`) {
		t.Errorf("%+v", got.State)
	}
	if diff := cmp.Diff([]string{}, append([]string{}, c.names("v1", namespace, "secrets", "dev.flowship.job")...)); diff != "" {
		t.Errorf("Secrets (-want +got):\n%s", diff)
	}
	if t.Failed() {
		t.Log(said)
	}
}
