package kubernetesinfra_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/infratest"
	"github.com/flowship/flowship/launch/kubernetesinfra"
)

// restricted makes the account of rbac.yaml in a namespace and returns a kubeconfig with its token, for
// a server that stands before the API server.
func restricted(t *testing.T, a *api, server, namespace string) string {
	t.Helper()
	paths := map[string]string{
		"ServiceAccount": "/api/v1/namespaces/" + namespace + "/serviceaccounts",
		"Role":           "/apis/rbac.authorization.k8s.io/v1/namespaces/" + namespace + "/roles",
		"RoleBinding":    "/apis/rbac.authorization.k8s.io/v1/namespaces/" + namespace + "/rolebindings",
	}
	manifest, err := os.ReadFile("rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(strings.ReplaceAll(string(manifest), "namespace: default", "namespace: "+namespace), "\n---\n") {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		a.must("POST", paths[object["kind"].(string)], object, nil)
	}
	var token struct{ Status struct{ Token string } }
	a.must("POST", paths["ServiceAccount"]+"/flowship/token", map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}, &token)
	return kubeconfigOf(t, server, token.Status.Token)
}

// rights are what an account does to resources, or may do: {"jobs": {"create": true}}.
type rights map[string]map[string]bool

func (r rights) add(resource, verb string) {
	if r[resource] == nil {
		r[resource] = map[string]bool{}
	}
	r[resource][verb] = true
}

// given are the rights of rbac.yaml.
func given(t *testing.T) rights {
	t.Helper()
	manifest, err := os.ReadFile("rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := rights{}
	for document := range strings.SplitSeq(string(manifest), "\n---\n") {
		var object struct {
			Rules []struct{ Resources, Verbs []string }
		}
		if err := yaml.Unmarshal([]byte(document), &object); err != nil {
			t.Fatal(err)
		}
		for _, rule := range object.Rules {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					all.add(resource, verb)
				}
			}
		}
	}
	return all
}

// watched returns the address of a server before the API server, and what is asked for there.
func watched(t *testing.T, file string) (server string, asked func() rights) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	upstream, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(upstream)
	forward.Transport, forward.FlushInterval, forward.ErrorLog = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, -1, log.New(io.Discard, "", 0)
	all := rights{}
	var mu sync.Mutex
	// No token goes over plain HTTP.
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// …/namespaces/NAMESPACE/RESOURCE[/NAME[/SUBRESOURCE]]
		if _, object, ok := strings.Cut(r.URL.Path, "/namespaces/"); ok {
			parts := append(strings.Split(object, "/"), "", "", "")
			resource, verb := parts[1], strings.ToLower(r.Method)
			if parts[3] != "" {
				resource += "/" + parts[3]
			}
			switch {
			case r.Method == http.MethodPost:
				verb = "create"
			case r.URL.Query().Get("watch") == "true":
				verb = "watch"
			case r.Method == http.MethodGet && parts[2] == "":
				verb = "list"
			}
			mu.Lock()
			all.add(resource, verb)
			mu.Unlock()
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL, func() rights {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

// The driver does all that it does with no more rights than rbac.yaml gives, and it needs them all.
func TestRBAC(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	a := newAPI(t, file)
	namespace := a.namespace()
	server, asked := watched(t, file)
	as := restricted(t, a, server, namespace)
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: as})

	var out infratest.Output
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, nil), Command: sh("echo $PREFECT_API_KEY; exit 3"), Env: []string{"PREFECT_API_KEY=k"}, Stdout: &out})
	if exit := wait(t, r); exit.Code != 3 || out.String() != "k\n" {
		t.Errorf("exit %+v, output %q", exit, out.String())
	}
	other, _ := open(t, kubernetesinfra.Options{Kubeconfig: as})
	if _, err := other.Find(t.Context(), r.ID(), nil); err != nil {
		t.Error(err)
	}
	r = start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, map[string]any{"backoff_limit": 2}), Command: sh(forever), Stdout: &out})
	until(t, "it is ready", func() bool { return strings.Contains(out.String(), "ready") })
	if err := r.Stop(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	if exit := wait(t, r); exit.Code != 5 {
		t.Errorf("exit %+v", exit)
	}
	r = start(t, infra, launch.Job{Configuration: configure(t, infra, namespace, map[string]any{"service_account_name": "nonesuch", "pod_watch_timeout_seconds": 8}), Command: sh("exit 0")})
	if _, err := waitFor(t, r); err == nil || !strings.Contains(err.Error(), `serviceaccount "nonesuch" not found`) {
		t.Errorf("%v", err)
	}
	// It has no rights anywhere else.
	if _, err := infra.Start(t.Context(), launch.Job{Configuration: configure(t, infra, "default", nil), Command: sh("exit 0")}); err == nil ||
		!strings.Contains(err.Error(), `create a Job in the namespace "default": jobs.batch is forbidden`) {
		t.Errorf("another namespace: %v", err)
	}
	until(t, "Secrets are gone", func() bool { return len(a.secrets(namespace)) == 0 })
	if diff := cmp.Diff(asked(), given(t)); diff != "" {
		t.Errorf("rights (-needed +given):\n%s", diff)
	}
}

// A job's own cluster wins over all others, and is remembered for the job.
func TestClusterConfig(t *testing.T) {
	file := kubeconfig(t)
	t.Parallel()
	a := newAPI(t, file)
	namespace := a.namespace()
	nowhere := kubeconfigOf(t, "http://127.0.0.1:1", "")
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: nowhere})
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := yaml.Unmarshal(content, &object); err != nil {
		t.Fatal(err)
	}
	var out infratest.Output
	r := start(t, infra, launch.Job{
		Configuration: configure(t, infra, namespace, map[string]any{"cluster_config": map[string]any{"config": object, "context_name": "testbed"}}),
		Command:       sh(forever), Stdout: &out,
	})
	until(t, "it is ready", func() bool { return strings.Contains(out.String(), "ready") })
	if found, err := infra.Find(t.Context(), r.ID(), nil); err != nil {
		t.Error(err)
	} else if err := found.Stop(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	if exit := wait(t, r); exit.Code != 5 {
		t.Errorf("exit %+v", exit)
	}
}

func TestClusterRefused(t *testing.T) {
	t.Setenv("KUBECONFIG", "")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	good := json.RawMessage(`{"apiVersion":"v1","kind":"Config","contexts":[{"name":"c","context":{"cluster":"k","user":"u"}}],"clusters":[{"name":"k","cluster":{"server":"http://127.0.0.1:1"}}],"users":[{"name":"u","user":{"token":"hush"}}]}`)
	for _, test := range []struct {
		name   string
		opts   kubernetesinfra.Options
		config any
		want   string
	}{
		{"none", kubernetesinfra.Options{}, nil, "no Kubernetes cluster is configured: there is neither"},
		{"no such file", kubernetesinfra.Options{Kubeconfig: "/nonesuch/file"}, nil, "/nonesuch/file"},
		{"no such context", kubernetesinfra.Options{}, map[string]any{"config": good, "context_name": "d"}, `cluster_config: it has no context "d"`},
		{"not a config", kubernetesinfra.Options{}, map[string]any{"config": "hush", "context_name": "d"}, "cluster_config: it is not what a kubeconfig file holds"},
		{"it does not answer", kubernetesinfra.Options{}, map[string]any{"config": good, "context_name": "c"}, `create a Job in the namespace "default": the Kubernetes cluster at "http://127.0.0.1:1" does not answer: `},
	} {
		t.Run(test.name, func(t *testing.T) {
			infra, _ := open(t, test.opts)
			configuration := configure(t, infra, "default", nil)
			if test.config != nil {
				configuration["cluster_config"] = test.config
			}
			_, err := infra.Start(t.Context(), launch.Job{Configuration: configuration, Command: sh("exit 0")})
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
