package kubernetesinfra

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
)

func vectorFile(name string) string { return filepath.Join("..", "..", "testdata", "vectors", name) }

// The template is that of Prefect's Kubernetes worker.
func TestTemplate(t *testing.T) {
	source, err := os.ReadFile(vectorFile("kubernetes-template.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	if err := json.Unmarshal(source, &want); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(New(nil).Template())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("template (-Prefect +ours):\n%s", diff)
	}
}

type vector struct {
	Name, Value, Key *string
	Base, Label      *string

	Configuration map[string]any
	Manifest      any
	Error         string
}

func TestVectors(t *testing.T) {
	f, err := os.Open(vectorFile("kubernetes.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan(); n++ {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if diff := checkVector(t, &v); diff != "" {
			t.Errorf("%s (-want +got):\n%s", lines.Bytes(), diff)
		}
	}
	if err := lines.Err(); err != nil || n < 150 {
		t.Errorf("%d vectors, %v", n, err)
	}
}

// checkVector returns how we differ.
func checkVector(t *testing.T, v *vector) string {
	t.Helper()
	switch {
	case v.Name != nil:
		want := ""
		if v.Base != nil {
			want = *v.Base
		}
		return cmp.Diff(want, jobName(*v.Name))
	case v.Value != nil:
		return cmp.Diff(*v.Label, labelValue(*v.Value))
	case v.Key != nil:
		return cmp.Diff(*v.Label, labelKey(*v.Key))
	}
	if v.Error != "" && numbersOnJob(v.Configuration) {
		return "" // Prefect wants them where they mean nothing
	}
	p, err := New(&Options{Image: "prefecthq/prefect:3.8.8-python3.11"}).plan(&launch.Job{Configuration: v.Configuration, Command: []string{"prefect", "flow-run", "execute"}})
	if v.Error != "" || err != nil {
		return cmp.Diff(v.Error != "", err != nil)
	}
	b, err := json.Marshal(p.manifest)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := v.Manifest.(map[string]any)
	pod := want["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
	delete(pod, "parallelism")
	delete(pod, "completions")
	metadata := want["metadata"].(map[string]any)
	base := metadata["generateName"].(string)
	delete(metadata, "generateName")
	diff := cmp.Diff(want, got)
	if clean := jobName(base) + "-"; clean != p.base { // Prefect keeps what the API server refuses
		diff += cmp.Diff(base, p.base)
	}
	return diff
}

func numbersOnJob(configuration map[string]any) bool {
	spec, _ := configuration["job_manifest"].(map[string]any)["spec"].(map[string]any)
	template, _ := spec["template"].(map[string]any)
	pod, _ := template["spec"].(map[string]any)
	_, ok := pod["parallelism"]
	return pod != nil && !ok
}
