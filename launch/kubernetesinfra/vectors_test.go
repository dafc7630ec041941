package kubernetesinfra

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/infratest"
)

func vectorFile(name string) string { return filepath.Join("..", "..", "testdata", "vectors", name) }

// The template is that of Prefect's Kubernetes worker.
func TestTemplate(t *testing.T) {
	infratest.Template(t, New(nil).Template(), vectorFile("kubernetes-template.json"))
}

type vector struct {
	Name, Value, Key *string
	Base, Label      *string

	Configuration map[string]any
	Manifest      any
	Error         string
}

func TestVectors(t *testing.T) {
	infratest.Vectors(t, vectorFile("kubernetes.jsonl"), 150, func(v *vector) string { return checkVector(t, v) })
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

// A Job's name is that of the configuration, also where it was filled in after the manifest was.
func TestFilledName(t *testing.T) {
	driver := New(nil)
	configuration, err := driver.Template().Resolve(map[string]any{"name": "{{ ctx.flow_run.name }}!"})
	if err != nil {
		t.Fatal(err)
	}
	configuration["name"] = "Sunny Day!"
	p, err := driver.plan(&launch.Job{Configuration: configuration, Command: []string{"true"}})
	if err != nil || p.base != "sunny-day-" {
		t.Errorf("%q, %v", p.base, err)
	}
}

// A pool whose manifest names the Job itself has that name, and nothing beside it.
func TestFixedName(t *testing.T) {
	driver := New(nil)
	configuration, err := driver.Template().Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	configuration["job_manifest"].(map[string]any)["metadata"].(map[string]any)["name"] = "fixed"
	p, err := driver.plan(&launch.Job{Configuration: configuration, Command: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	p.mark("token")
	metadata := p.manifest["metadata"].(map[string]any)
	if diff := cmp.Diff([]any{"fixed", nil}, []any{metadata["name"], metadata["generateName"]}); diff != "" {
		t.Errorf("name and generateName (-want +got):\n%s", diff)
	}
}
