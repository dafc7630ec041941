//go:build linux

package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// newHarbourOnKubernetes makes a work pool of Kubernetes Jobs. Its jobs end when open is set.
func newHarbourOnKubernetes(t *testing.T) (h *harbour, open *atomic.Bool) {
	t.Helper()
	config, store, registry := started.Server(t, "kubernetes", "FLOWSHIP_TEST_KUBECONFIG"), started.Server(t, "s3", "FLOWSHIP_TEST_S3"), started.Server(t, "registry", "FLOWSHIP_TEST_REGISTRY")
	started.Share(t, config)
	h = newHarbour(t)
	u, err := url.Parse(store)
	if err != nil {
		t.Fatal(err)
	}
	h.env = append(h.env, "KUBECONFIG="+config, "AWS_ENDPOINT_URL_S3="+u.Query().Get("endpoint"), "AWS_REGION=us-east-1")
	base, image := filepath.Join(h.dir, "base.tar"), registry+"/harbour/busybox:1"
	h.docker("save", "flowship-test:busybox", "-o", base)
	h.flowship("image", "build", "--base", base, "-t", image, "--push")
	h.variables = []string{"-v", "image=" + image}
	// Pods that share the node's network reach the servers of the test.
	template := strings.Replace(h.flowship("work-pool", "get-default-base-job-template", "--type", "kubernetes"), `"restartPolicy": "Never"`, `"restartPolicy": "Never", "hostNetwork": true`, 1)
	file := filepath.Join(h.dir, "template.json")
	if err := os.WriteFile(file, []byte(template), 0o600); err != nil {
		t.Fatal(err)
	}
	h.flowship("work-pool", "create", "cluster", "--type", "kubernetes", "--base-job-template", file, "--set-as-default")
	h.flowship("work-pool", "storage", "configure", "s3", "cluster", "--bucket", u.Host)
	open = &atomic.Bool{}
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !open.Load() {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(gate.Close)
	h.gate = "wget -q -O /dev/null " + gate.URL + " 2>/dev/null"
	return h, open
}

// On Kubernetes as on Docker: whoever launched a run is killed, and the run ends as its Job does.
func TestLauncherOfJobsIsKilled(t *testing.T) {
	h, open := newHarbourOnKubernetes(t)
	direct := h.launched("run", "direct", h.job(""))
	if err := h.launched("submit", "later", h.job("")).Wait(); err != nil {
		t.Fatal(err)
	}
	worker := h.command("worker", "start", "--pool", "cluster")
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	if err := h.launched("submit-to-work-pool", "queued", h.job("")).Wait(); err != nil {
		t.Fatal(err)
	}
	h.began(1, "direct", "later", "queued")
	h.kill(worker)
	h.kill(direct)
	h.killLauncher(h.inspect("later").ID)
	names := []string{"direct", "later", "queued"}
	for _, name := range names {
		if got := h.inspect(name).State.Type; got != "RUNNING" {
			t.Errorf("nobody looks after %s: it is %s", name, got)
		}
	}
	var log bytes.Buffer
	worker = h.command("worker", "start", "--pool", "cluster")
	worker.Stderr = &log
	stop := startWorker(t, worker, &log, 40*time.Second)
	open.Store(true)
	h.flowship(slices.Concat([]string{"flow-run", "wait"}, names)...)
	h.wantDone(names...)
	if said := stop(); strings.Contains(said, "level=WARN") || strings.Contains(said, "level=ERROR") {
		t.Errorf("the worker's log:\n%s", said)
	}
}
