//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// cluster is the testbed's Kubernetes cluster, as its administrator sees it.
type cluster struct {
	*testing.T
	kubeconfig string
	host       string
	http       *http.Client
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{T: t, kubeconfig: started.Server(t, "kubernetes", "FLOWSHIP_TEST_KUBECONFIG")}
	started.Share(t, c.kubeconfig)
	started.Server(t, "image", "FLOWSHIP_TEST_IMAGE")
	started.Server(t, "registry", "FLOWSHIP_TEST_REGISTRY")
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c.host = config.Host
	if c.http, err = rest.HTTPClientFor(config); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask makes a request of the API server, and returns what it answers.
func (c *cluster) ask(method, path, body string) (string, error) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(c.Context()), method, c.host+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return string(answer), err
}

func (c *cluster) must(method, path, body string) string {
	c.Helper()
	answer, err := c.ask(method, path, body)
	if err != nil {
		c.Fatal(err)
	}
	return answer
}

// names are those of the objects in a namespace: names("batch/v1", "default", "jobs", "a=b").
func (c *cluster) names(group, namespace, kind, labels string) (names []string) {
	c.Helper()
	root := "/apis/"
	if group == "v1" {
		root = "/api/"
	}
	var list struct {
		Items []struct{ Metadata struct{ Name string } }
	}
	if err := json.Unmarshal([]byte(c.must("GET", root+group+"/namespaces/"+namespace+"/"+kind+"?labelSelector="+labels, "")), &list); err != nil {
		c.Fatal(err)
	}
	for _, i := range list.Items {
		names = append(names, i.Metadata.Name)
	}
	return names
}

// namespace makes a namespace that is deleted with the test.
func (c *cluster) namespace() string {
	c.Helper()
	name := "test-" + strings.ToLower(rand.Text()[:8])
	c.must("POST", "/api/v1/namespaces", fmt.Sprintf(`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": %q}}`, name))
	c.Cleanup(func() {
		if _, err := c.ask("DELETE", "/api/v1/namespaces/"+name, ""); err != nil {
			c.Error(err)
		}
	})
	return name
}

// account makes the account of rbac.yaml in a namespace, and returns a kubeconfig with its token.
func (c *cluster) account(namespace string) string {
	c.Helper()
	manifest, err := os.ReadFile("../../launch/kubernetesinfra/rbac.yaml")
	if err != nil {
		c.Fatal(err)
	}
	paths := map[string]string{
		"ServiceAccount": "/api/v1/namespaces/" + namespace + "/serviceaccounts",
		"Role":           "/apis/rbac.authorization.k8s.io/v1/namespaces/" + namespace + "/roles",
		"RoleBinding":    "/apis/rbac.authorization.k8s.io/v1/namespaces/" + namespace + "/rolebindings",
	}
	for document := range strings.SplitSeq(strings.ReplaceAll(string(manifest), "namespace: default", "namespace: "+namespace), "\n---\n") {
		text, err := yaml.YAMLToJSON([]byte(document))
		var object struct{ Kind string }
		if err == nil {
			err = json.Unmarshal(text, &object)
		}
		if err != nil {
			c.Fatal(err)
		}
		c.must("POST", paths[object.Kind], string(text))
	}
	var made struct{ Status struct{ Token string } }
	text := c.must("POST", paths["ServiceAccount"]+"/flowship/token", `{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}`)
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		c.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(c.kubeconfig)
	if err != nil {
		c.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		*user = clientcmdapi.AuthInfo{Token: made.Status.Token}
	}
	file := filepath.Join(c.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		c.Fatal(err)
	}
	return file
}

func (c *cluster) eventually(what string, holds func() bool) {
	c.Helper()
	tick, deadline := time.NewTicker(100*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			c.Fatalf("waited in vain until %s", what)
		}
	}
}

// template writes a base job template whose pods share the node's network, in which they reach this test's servers. Defaults are of its
// variables; env is what the template's own container has in its environment, beside the job variable env.
func (c *cluster) template(tm *team, defaults map[string]any, env ...any) string {
	c.Helper()
	var t struct {
		Configuration map[string]any `json:"job_configuration"`
		Variables     map[string]any `json:"variables"`
	}
	if err := json.Unmarshal([]byte(tm.flowship("work-pool", "get-default-base-job-template", "--type", "kubernetes")), &t); err != nil {
		c.Fatal(err)
	}
	in := func(v any, names ...string) map[string]any {
		for _, name := range names {
			v = v.(map[string]any)[name]
		}
		return v.(map[string]any)
	}
	pod := in(t.Configuration, "job_manifest", "spec", "template", "spec")
	pod["hostNetwork"], pod["terminationGracePeriodSeconds"] = true, 5
	if len(env) > 0 {
		in(pod["containers"].([]any)[0])["env"] = env
	}
	properties := in(t.Variables, "properties")
	for name, value := range defaults {
		in(properties, name)["default"] = value
	}
	text, err := json.Marshal(t)
	if err != nil {
		c.Fatal(err)
	}
	path := filepath.Join(c.TempDir(), "template.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		c.Fatal(err)
	}
	return path
}
