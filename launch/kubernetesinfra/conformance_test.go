package kubernetesinfra_test

import (
	"context"
	"encoding/json"
	"maps"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/infratest"
	"github.com/flowship/flowship/launch/kubernetesinfra"
)

// testImage is what testbed makes: busybox, with FLOWSHIP_TEST_INHERITED in its environment.
const testImage = "flowship-test:busybox"

// deadline is generous: the cluster shares the machine with all other tests.
const deadline = 60 * time.Second

// kubeconfig returns the file that testbed gives, and skips the test where there is none.
func kubeconfig(t testing.TB) string {
	t.Helper()
	return started.Server(t, "kubernetes", "FLOWSHIP_TEST_KUBECONFIG")
}

// api is a client of the cluster, to look behind the driver's back.
type api struct {
	t    testing.TB
	rest rest.Interface
}

func newAPI(t testing.TB, file string) *api {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, batchv1.AddToScheme} {
		if err := add(types); err != nil {
			t.Fatal(err)
		}
	}
	config.QPS, config.Burst = 100, 200
	config.ContentConfig = rest.ContentConfig{GroupVersion: &corev1.SchemeGroupVersion, NegotiatedSerializer: serializer.NewCodecFactory(types).WithoutConversion()}
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return &api{t, client}
}

// do makes a request, whose body may be any value, and decodes the answer.
func (a *api) do(verb, path string, body, into any) error {
	a.t.Helper()
	r := a.rest.Verb(verb).AbsPath(path)
	if verb == "PATCH" {
		r.SetHeader("Content-Type", "application/merge-patch+json")
	}
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			a.t.Fatal(err)
		}
		r.Body(b)
		if verb == "POST" {
			r.SetHeader("Content-Type", "application/json")
		}
	}
	raw, err := r.Do(context.Background()).Raw()
	if err == nil && into != nil {
		err = json.Unmarshal(raw, into)
	}
	return err
}

func (a *api) must(verb, path string, body, into any) {
	a.t.Helper()
	if err := a.do(verb, path, body, into); err != nil {
		a.t.Fatalf("%s %s: %v", verb, path, err)
	}
}

// namespace makes a namespace that is deleted with the test.
func (a *api) namespace() string {
	a.t.Helper()
	var made corev1.Namespace
	a.must("POST", "/api/v1/namespaces", map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"generateName": "test-"}}, &made)
	a.t.Cleanup(func() { a.must("DELETE", "/api/v1/namespaces/"+made.Name, nil, nil) })
	// Pods need the account that a controller makes.
	until(a.t, "the namespace has an account", func() bool {
		return a.do("GET", "/api/v1/namespaces/"+made.Name+"/serviceaccounts/default", nil, nil) == nil
	})
	return made.Name
}

// count is how many objects of a kind there are.
func (a *api) count(path string) []string {
	a.t.Helper()
	var list struct {
		Items []struct{ Metadata struct{ Name string } }
	}
	a.must("GET", path, nil, &list)
	var names []string
	for _, i := range list.Items {
		names = append(names, i.Metadata.Name)
	}
	return names
}

func (a *api) jobs(namespace string) []string {
	return a.count("/apis/batch/v1/namespaces/" + namespace + "/jobs")
}

func (a *api) secrets(namespace string) []string {
	return a.count("/api/v1/namespaces/" + namespace + "/secrets")
}

// open returns an infrastructure whose driver is closed with the test.
func open(t testing.TB, opts kubernetesinfra.Options) (*launch.Infrastructure, *kubernetesinfra.Driver) {
	t.Helper()
	driver := kubernetesinfra.New(&opts)
	t.Cleanup(func() {
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
	})
	return launch.New(kubernetesinfra.Type, driver), driver
}

func configure(t testing.TB, infra *launch.Infrastructure, namespace string, variables map[string]any) map[string]any {
	t.Helper()
	all := map[string]any{"image": testImage, "image_pull_policy": "Never", "namespace": namespace}
	maps.Copy(all, variables)
	configuration, err := infra.Template().Resolve(all)
	if err != nil {
		t.Fatal(err)
	}
	return configuration
}

// within returns the configuration with something changed in the manifest, at a path.
func within(configuration map[string]any, value any, path ...string) map[string]any {
	b, err := json.Marshal(configuration)
	if err != nil {
		panic(err)
	}
	var changed map[string]any
	if err := json.Unmarshal(b, &changed); err != nil {
		panic(err)
	}
	in := changed["job_manifest"].(map[string]any)
	for _, name := range path[:len(path)-1] {
		if name == "0" {
			continue
		}
		next := in[name]
		if next == nil {
			next = map[string]any{}
			in[name] = next
		}
		if list, ok := next.([]any); ok {
			next = list[0]
		}
		in = next.(map[string]any)
	}
	in[path[len(path)-1]] = value
	return changed
}

func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	infratest.Until(t.Context(), t, deadline, what, done)
}

func start(t testing.TB, infra *launch.Infrastructure, job launch.Job) *launch.Running {
	t.Helper()
	return infratest.Start(t.Context(), t, infra, deadline, job)
}

func sh(source string) []string { return []string{"sh", "-c", source} }

func waitFor(t testing.TB, r *launch.Running) (*launch.Exit, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	return r.Wait(ctx)
}

func wait(t testing.TB, r *launch.Running) *launch.Exit {
	t.Helper()
	exit, err := waitFor(t, r)
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

func TestConformance(t *testing.T) {
	file := kubeconfig(t)
	namespace := newAPI(t, file).namespace()
	infratest.Run(t, func(t *testing.T) *launch.Infrastructure {
		infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: file})
		return infra
	}, infratest.Options{
		Variables: map[string]any{"image": testImage, "image_pull_policy": "Never", "namespace": namespace},
		OneStream: true,
		Early:     true,
		Deadline:  deadline,
		Left:      func(t *testing.T) []string { return newAPI(t, file).secrets(namespace) },
	})
}
