package kubernetesinfra_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/infratest"
	"github.com/flowship/flowship/launch/kubernetesinfra"
)

// How soon the end of a job is known after its last output.
func TestEndIsKnownAtOnce(t *testing.T) {
	file := kubeconfig(t)
	a := newAPI(t, file)
	namespace := a.namespace()
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
	var out infratest.Output
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, nil), Command: sh("sleep 1; echo bye; exit 7"), Stdout: &out})
	until(t, "it says bye", func() bool { return strings.Contains(out.String(), "bye") })
	begun := time.Now()
	if exit := wait(t, r); exit.Code != 7 {
		t.Errorf("exit %+v", exit)
	}
	took := time.Since(begun)
	t.Logf("known %.2fs after the last output", took.Seconds())
	if took > 20*time.Second { // about half a second on a machine that has nothing else to do
		t.Errorf("it took %s", took)
	}
}

const atOnce = 30

// Thirty jobs at once, against thirty Jobs that are only made and looked at.
func BenchmarkJobs(b *testing.B) {
	file := kubeconfig(b)
	for _, secrets := range []bool{false, true} {
		name := "driver"
		var env []string
		if secrets {
			name, env = "driver with secrets", []string{"PREFECT_API_KEY=k"}
		}
		b.Run(name, func(b *testing.B) {
			namespace := newAPI(b, file).namespace()
			infra, _ := open(b, kubernetesinfra.Options{Kubeconfig: file})
			configuration := configure(b, infra, namespace, nil)
			for b.Loop() {
				var all sync.WaitGroup
				for range atOnce {
					all.Go(func() {
						r, err := infra.Start(b.Context(), launch.Job{Configuration: configuration, Command: sh("echo hello"), Env: env, Stdout: &infratest.Output{}})
						if err != nil {
							b.Error(err)
							return
						}
						if exit, err := r.Wait(b.Context()); err != nil || exit.Code != 0 {
							b.Error(exit, err)
						}
					})
				}
				all.Wait()
			}
		})
	}
	b.Run("plain", func(b *testing.B) {
		a := newAPI(b, file)
		namespace := a.namespace()
		path := "/apis/batch/v1/namespaces/" + namespace + "/jobs"
		for b.Loop() {
			before := len(a.jobs(namespace))
			var all sync.WaitGroup
			for range atOnce {
				all.Go(func() {
					err := a.do("POST", path, map[string]any{
						"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"generateName": "plain-"},
						"spec": map[string]any{"backoffLimit": 0, "template": map[string]any{"spec": map[string]any{"restartPolicy": "Never", "containers": []any{
							map[string]any{"name": "a", "image": testImage, "imagePullPolicy": "Never", "args": []any{"sh", "-c", "echo hello"}},
						}}}},
					}, nil)
					if err != nil {
						b.Error(err)
					}
				})
			}
			all.Wait()
			until(b, "all are complete", func() bool {
				var list batchv1.JobList
				a.must("GET", path, nil, &list)
				complete := 0
				for _, j := range list.Items {
					if j.Status.Succeeded == 1 {
						complete++
					}
				}
				return complete == before+atOnce
			})
		}
	})
}
