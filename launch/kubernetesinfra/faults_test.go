package kubernetesinfra_test

import (
	"io"
	"log"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/infratest"
	"github.com/flowship/flowship/launch/kubernetesinfra"
)

const forever = `trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done`

// A job that cannot start is an error with the cluster's reason, and nothing of it stays. Where the
// whole timeout is waited for, a busy cluster has to have given its reason by then.
func TestDoesNotStart(t *testing.T) {
	file := kubeconfig(t)
	images := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(images.Close)
	empty := strings.TrimPrefix(images.URL, "http://")
	for _, test := range []struct {
		name      string
		variables map[string]any
		value     any // in the manifest
		path      string
		quota     bool
		want      string // a pattern
	}{
		{name: "no such image", variables: map[string]any{"image": empty + "/nonesuch:1", "image_pull_policy": "IfNotPresent"}, want: `nonesuch:1.*not found`},
		{name: "image never pulled", variables: map[string]any{"image": "nonesuch:1"}, want: `ErrImageNeverPull.*"nonesuch:1".*Never`},
		{name: "no image's name", variables: map[string]any{"image": "No Image"}, want: `InvalidImageName.*No Image`},
		{name: "no registry", variables: map[string]any{"image": "127.0.0.1:1/nonesuch:1", "image_pull_policy": "Always", "pod_watch_timeout_seconds": 8}, want: `(?i)ErrImagePull.*connection refused`},
		{name: "no node", variables: map[string]any{"cpu_request": "1000", "pod_watch_timeout_seconds": 8}, want: `Unschedulable.*Insufficient cpu`},
		{name: "no secret", value: []any{map[string]any{"name": "A", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": "nonesuch", "key": "a"}}}},
			path: "spec template spec containers 0 env", variables: map[string]any{"pod_watch_timeout_seconds": 8}, want: `CreateContainerConfigError.*"nonesuch" not found`},
		{name: "no volume", value: map[string]any{"restartPolicy": "Never", "volumes": []any{map[string]any{"name": "v", "configMap": map[string]any{"name": "nonesuch"}}},
			"containers": []any{map[string]any{"name": "prefect-job", "image": testImage, "volumeMounts": []any{map[string]any{"name": "v", "mountPath": "/v"}}}}},
			path: "spec template spec", variables: map[string]any{"pod_watch_timeout_seconds": 8}, want: `FailedMount.*"nonesuch" not found`},
		{name: "no account", variables: map[string]any{"service_account_name": "nonesuch", "pod_watch_timeout_seconds": 8}, want: `FailedCreate.*"nonesuch" not found`},
		{name: "no quota", quota: true, variables: map[string]any{"pod_watch_timeout_seconds": 8}, want: `FailedCreate.*exceeded quota`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, file)
			namespace := a.namespace()
			if test.quota {
				a.must("POST", "/api/v1/namespaces/"+namespace+"/resourcequotas", map[string]any{
					"apiVersion": "v1", "kind": "ResourceQuota", "metadata": map[string]any{"name": "none"}, "spec": map[string]any{"hard": map[string]any{"pods": "0"}},
				}, nil)
				until(t, "the quota holds", func() bool {
					var q corev1.ResourceQuota
					a.must("GET", "/api/v1/namespaces/"+namespace+"/resourcequotas/none", nil, &q)
					return len(q.Status.Hard) > 0
				})
			}
			infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
			configuration := configure(t, infra, namespace, test.variables)
			if test.path != "" {
				configuration = within(configuration, test.value, strings.Fields(test.path)...)
			}
			begun := time.Now()
			r := start(t, infra, launch.Job{Configuration: configuration, Command: sh("exit 0"), Env: []string{"PREFECT_API_KEY=k"}})
			exit, err := waitFor(t, r)
			if exit != nil || err == nil || !regexp.MustCompile(test.want).MatchString(err.Error()) {
				t.Errorf("exit %+v, %v, want %q", exit, err, test.want)
			}
			t.Logf("after %.1fs: %v", time.Since(begun).Seconds(), err)
			until(t, "nothing is left", func() bool { return len(a.jobs(namespace))+len(a.secrets(namespace)) == 0 })
		})
	}
}

// How a job ends that did start, and why.
func TestReason(t *testing.T) {
	file := kubeconfig(t)
	for _, test := range []struct {
		name      string
		variables map[string]any
		value     any
		path      string
		command   string
		then      func(a *api, namespace, job, pod string) // once it says ready
		code      int
		want      string // the reason, or the error, as a pattern
	}{
		{name: "memory", variables: map[string]any{"memory_limit": "24Mi"}, command: "exec tail /dev/zero", code: 137, want: `^killed because its memory limit of 24Mi was reached$`},
		{name: "deadline", value: 15, path: "spec activeDeadlineSeconds", command: forever, code: 5, want: `^its deadline of 15 s was exceeded$`},
		{name: "no command", command: "", code: 128, want: `no-such-command.*not found`},
		{name: "its own message", command: "echo broken >/dev/termination-log; exit 3", code: 3, want: `^broken$`},
		{name: "nothing to say", command: "exit 3", code: 3, want: `^$`},
		{name: "init container", value: []any{map[string]any{"name": "first", "image": testImage, "command": []any{"sh", "-c", "exit 9"}}},
			path: "spec template spec initContainers", command: "exit 0", code: 9, want: `^the init container "first" failed$`},
		{name: "evicted", command: forever, code: 5, want: `(?i)eviction`, then: func(a *api, namespace, job, pod string) {
			a.must("POST", "/api/v1/namespaces/"+namespace+"/pods/"+pod+"/eviction", map[string]any{
				"apiVersion": "policy/v1", "kind": "Eviction", "metadata": map[string]any{"name": pod, "namespace": namespace},
			}, nil)
		}},
		{name: "Job deleted", command: forever, code: 5, want: `^the Job was deleted by somebody else$`, then: func(a *api, namespace, job, pod string) {
			a.must("DELETE", "/apis/batch/v1/namespaces/"+namespace+"/jobs/"+job, map[string]any{"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}, nil)
		}},
		{name: "pod deleted", command: forever, code: 5, want: `^the pod was deleted by somebody else$`, then: func(a *api, namespace, job, pod string) {
			a.must("DELETE", "/api/v1/namespaces/"+namespace+"/pods/"+pod, nil, nil)
		}},
		{name: "pod gone", command: forever, code: -1, want: `the pod was deleted before its end was known|the Job failed: .*BackoffLimitExceeded|has reached the specified backoff limit`, then: func(a *api, namespace, job, pod string) {
			a.must("PATCH", "/api/v1/namespaces/"+namespace+"/pods/"+pod, map[string]any{"metadata": map[string]any{"finalizers": nil}}, nil)
			a.must("DELETE", "/api/v1/namespaces/"+namespace+"/pods/"+pod, map[string]any{"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}, nil)
		}},
		{name: "too long", variables: map[string]any{"job_watch_timeout_seconds": 8}, command: forever, code: -1, want: `it did not end within 8s and was stopped`},
		{name: "a sidecar goes on", value: []any{map[string]any{"name": "prefect-job", "image": testImage, "imagePullPolicy": "Never"},
			map[string]any{"name": "side", "image": testImage, "imagePullPolicy": "Never", "command": []any{"sh", "-c", forever}}},
			path: "spec template spec containers", command: "exit 4", code: 4, want: `^$`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := newAPI(t, file)
			namespace := a.namespace()
			infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
			configuration := configure(t, infra, namespace, test.variables)
			if test.path != "" {
				configuration = within(configuration, test.value, strings.Fields(test.path)...)
			}
			var out infratest.Output
			job := launch.Job{Configuration: configuration, Command: sh(test.command), Stdout: &out}
			if test.command == "" {
				job.Command = []string{"no-such-command"}
			}
			r := start(t, infra, job)
			_, name, _ := strings.Cut(r.ID(), ":")
			if test.then != nil {
				until(t, "it is ready", func() bool { return strings.Contains(out.String(), "ready") })
				test.then(a, namespace, name, a.count("/api/v1/namespaces/" + namespace + "/pods")[0])
			}
			exit, err := waitFor(t, r)
			got := ""
			switch {
			case test.code < 0 && (exit != nil || err == nil), test.code >= 0 && (exit == nil || err != nil || exit.Code != test.code):
				t.Fatalf("exit %+v, %v, want code %d", exit, err, test.code)
			case exit != nil:
				got = exit.Reason
			default:
				got = err.Error()
			}
			if !regexp.MustCompile(test.want).MatchString(got) {
				t.Errorf("reason %q, want %q", got, test.want)
			}
		})
	}
}

// Kubernetes tries again; the end is that of the last pod, and the output that of all.
func TestTriesAgain(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	a := newAPI(t, file)
	namespace := a.namespace()
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
	var out infratest.Output
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, map[string]any{"backoff_limit": 1}), Command: sh("echo try; exit 3"), Stdout: &out})
	if exit := wait(t, r); exit.Code != 3 || out.String() != "try\ntry\n" {
		t.Errorf("exit %+v, output %q", exit, out.String())
	}
}

// A job that Kubernetes would try again ends all the same when it is stopped.
func TestStopTriesAgain(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	a := newAPI(t, file)
	namespace := a.namespace()
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
	var out infratest.Output
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, map[string]any{"backoff_limit": 3}), Command: sh(forever), Stdout: &out})
	until(t, "it is ready", func() bool { return out.String() == "ready\n" })
	if err := r.Stop(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, r); exit.Code != 5 || exit.Reason != "" || out.String() != "ready\n" {
		t.Errorf("exit %+v, output %q", exit, out.String())
	}
	until(t, "the Job is gone", func() bool { return len(a.jobs(namespace)) == 0 })
}

// A job that is stopped before it began is over.
func TestStopPending(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	a := newAPI(t, file)
	namespace := a.namespace()
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, map[string]any{"cpu_request": "1000"}), Command: sh("exit 0")})
	until(t, "there is a pod", func() bool { return len(a.count("/api/v1/namespaces/"+namespace+"/pods")) == 1 })
	if err := r.Stop(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, r); exit.Code != 143 || exit.Reason != "it was stopped before it began" {
		t.Errorf("exit %+v", exit)
	}
	until(t, "nothing is left", func() bool {
		return len(a.jobs(namespace))+len(a.count("/api/v1/namespaces/"+namespace+"/pods")) == 0
	})
}

// Secrets get to the job, to nowhere else, and do not outlive it.
func TestSecrets(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	a := newAPI(t, file)
	namespace := a.namespace()
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
	var out infratest.Output
	r := start(t, infra, launch.Job{
		Configuration: configure(t, infra, namespace, map[string]any{"env": map[string]any{"PREFECT_API_AUTH_STRING": "auth-$(HOME)-secret"}}),
		Command:       sh(`echo "$PREFECT_API_KEY|$PREFECT_API_AUTH_STRING|$SIGNED|$OTHER"; trap 'exit 0' TERM; while :; do sleep 0.05; done`),
		Env:           []string{"PREFECT_API_KEY=key-$$-secret", "SIGNED=https://bucket/?sig=signed-secret", "OTHER=$$(SIGNED)$(HOME)"},
		Secrets:       []string{"SIGNED"},
		Stdout:        &out,
	})
	until(t, "it has said what it got", func() bool { return strings.Contains(out.String(), "\n") })
	if diff := cmp.Diff("key-$$-secret|auth-$(HOME)-secret|https://bucket/?sig=signed-secret|$$(SIGNED)$(HOME)\n", out.String()); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	_, name, _ := strings.Cut(r.ID(), ":")
	for _, path := range []string{"/apis/batch/v1/namespaces/" + namespace + "/jobs/" + name, "/api/v1/namespaces/" + namespace + "/pods"} {
		raw, err := a.rest.Get().AbsPath(path).Do(t.Context()).Raw()
		if err != nil || strings.Contains(string(raw), "-secret") {
			t.Errorf("%s shows a secret: %v", path, err)
		}
	}
	var job batchv1.Job
	var secret corev1.Secret
	a.must("GET", "/apis/batch/v1/namespaces/"+namespace+"/jobs/"+name, nil, &job)
	a.must("GET", "/api/v1/namespaces/"+namespace+"/secrets/"+name, nil, &secret)
	if len(secret.OwnerReferences) != 1 || secret.OwnerReferences[0].UID != job.UID {
		t.Errorf("the Secret belongs to %+v", secret.OwnerReferences)
	}
	if err := r.Stop(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	wait(t, r)
	until(t, "nothing is left", func() bool { return len(a.secrets(namespace)) == 0 })
}

// A Job that has ended is removed by the cluster when its time has come, and stays otherwise.
func TestFinishedJobTTL(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	a := newAPI(t, file)
	namespace := a.namespace()
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
	for _, ttl := range []any{nil, 0} {
		var out infratest.Output
		r := start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, map[string]any{"finished_job_ttl": ttl}), Command: sh("echo here; exit 1"), Stdout: &out})
		if exit := wait(t, r); exit.Code != 1 || out.String() != "here\n" {
			t.Errorf("exit %+v, output %q", exit, out.String())
		}
		if ttl == nil && len(a.jobs(namespace)) != 1 {
			t.Error("the Job did not stay")
		}
	}
	until(t, "one of two Jobs is gone", func() bool { return len(a.jobs(namespace)) == 1 })
}

// The executor comes from an image of its own.
func TestExecutorImage(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	a := newAPI(t, file)
	namespace := a.namespace()
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file, ExecutorImage: testImage})
	var out infratest.Output
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, nil), Command: []string{"flowship", "step", "execute"}, Stdout: &out})
	if exit := wait(t, r); exit.Code != 0 || out.String() != "/flowship/flowship step execute\n" {
		t.Errorf("exit %+v, output %q", exit, out.String())
	}
}

// What the API server ignores in a manifest, whoever starts the job is told.
func TestWarning(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	a := newAPI(t, file)
	namespace := a.namespace()
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
	var notes infratest.Output
	configuration := within(configure(t, infra, namespace, nil), "x", "spec", "template", "spec", "nonesuch")
	if exit := wait(t, start(t, infra, launch.Job{Configuration: configuration, Command: sh("exit 0"), Stderr: &notes})); exit.Code != 0 {
		t.Errorf("exit %+v", exit)
	}
	if diff := cmp.Diff("kubernetes: unknown field \"spec.template.spec.nonesuch\"\n", notes.String()); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// A Job that a Prefect worker made is waited for and stopped, and otherwise left alone.
func TestForeignJob(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	a := newAPI(t, file)
	namespace := a.namespace()
	a.must("POST", "/apis/batch/v1/namespaces/"+namespace+"/jobs", map[string]any{
		"apiVersion": "batch/v1", "kind": "Job", "metadata": map[string]any{"name": "theirs"},
		"spec": map[string]any{"backoffLimit": 0, "template": map[string]any{"spec": map[string]any{"restartPolicy": "Never", "containers": []any{
			map[string]any{"name": "prefect-job", "image": testImage, "imagePullPolicy": "Never", "args": []any{"sh", "-c", "sleep 1; exit 9"}},
		}}}},
	}, nil)
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
	r, err := infra.Find(t.Context(), namespace+":theirs", nil)
	if err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, r); exit.Code != 9 {
		t.Errorf("exit %+v", exit)
	}
	if diff := cmp.Diff([]string{"theirs"}, a.jobs(namespace)); diff != "" {
		t.Errorf("Jobs (-want +got):\n%s", diff)
	}
}

// A pod that fills more of its node than it may is evicted by the kubelet, which says why.
func TestNodePressure(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	a := newAPI(t, file)
	namespace := a.namespace()
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
	configuration := configure(t, infra, namespace, nil)
	configuration = within(configuration, []any{map[string]any{"name": "scratch", "emptyDir": map[string]any{"sizeLimit": "1Mi"}}}, "spec", "template", "spec", "volumes")
	configuration = within(configuration, []any{map[string]any{"name": "scratch", "mountPath": "/scratch"}}, "spec", "template", "spec", "containers", "0", "volumeMounts")
	r := start(t, infra, launch.Job{Configuration: configuration, Command: sh("dd if=/dev/zero of=/scratch/much bs=1M count=4 2>/dev/null; " + forever)})
	exit, err := waitFor(t, r)
	if err != nil || exit.Code == 0 || !strings.Contains(exit.Reason, `EmptyDir volume "scratch" exceeds the limit "1Mi"`) {
		t.Errorf("exit %+v, %v", exit, err)
	}
}
