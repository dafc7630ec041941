//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
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
	for name, variable := range map[string]string{"kubernetes": "FLOWSHIP_TEST_KUBECONFIG", "image": "FLOWSHIP_TEST_IMAGE"} {
		if slices.Contains(strings.Split(os.Getenv("FLOWSHIP_TEST_UNAVAILABLE"), ","), name) {
			t.Skipf("needs %s, which testbed cannot start here", name)
		}
		server(t, name, variable)
	}
	server(t, "registry", "FLOWSHIP_TEST_REGISTRY")
	c := &cluster{T: t, kubeconfig: os.Getenv("FLOWSHIP_TEST_KUBECONFIG")}
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
	req, err := http.NewRequestWithContext(c.Context(), method, c.host+path, strings.NewReader(body))
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

func (c *cluster) eventually(what string, holds func() bool) {
	c.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.Fatalf("waited in vain until %s", what)
		}
	}
}

// template writes a base job template whose pods share the node's network, in which they reach this test's servers, and whose Jobs do not
// stay. Defaults are of its variables.
func (c *cluster) template(tm *team, defaults map[string]any) string {
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
