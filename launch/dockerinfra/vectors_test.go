package dockerinfra

import (
	"encoding/json"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/infratest"
)

func vectorFile(name string) string { return filepath.Join("..", "..", "testdata", "vectors", name) }

// The template is that of Prefect's Docker worker.
func TestTemplate(t *testing.T) {
	infratest.Template(t, New(nil).Template(), vectorFile("docker-template.json"))
}

type vector struct {
	Volume, Size, Name, Label, Image *string

	Resolved, Docker, Policy, Error string
	Container                       *string
	Bytes                           int64
	Kwargs                          map[string]json.RawMessage
	Config, Host                    any
}

func TestVectors(t *testing.T) {
	file, err := filepath.Abs(vectorFile("docker.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("/")
	infratest.Vectors(t, file, 100, func(v *vector) string { return check(t, v) })
}

// check returns how we differ.
func check(t *testing.T, v *vector) string {
	refused := func(err error) string { return cmp.Diff(v.Error != "", err != nil) }
	switch {
	case v.Volume != nil && runtime.GOOS != "windows":
		got, err := parseVolume(*v.Volume)
		if v.Error != "" || err != nil {
			return refused(err)
		}
		return cmp.Diff(v.Resolved, got)
	case v.Size != nil:
		got, err := parseSize(*v.Size)
		if v.Error != "" || v.Bytes < -1 {
			return cmp.Diff(true, err != nil)
		}
		return cmp.Diff(v.Bytes, got) + refused(err)
	case v.Name != nil:
		want := ""
		if v.Container != nil {
			want = *v.Container
		}
		return cmp.Diff(want, containerName(*v.Name))
	case v.Label != nil:
		return cmp.Diff(v.Docker, dockerLabel(*v.Label))
	case v.Image != nil:
		job := &launch.Job{Command: []string{"x"}, Configuration: map[string]any{"image": *v.Image}}
		p, err := New(nil).plan(job)
		if err != nil {
			return err.Error()
		}
		return cmp.Diff(v.Policy, p.policy)
	case v.Kwargs != nil:
		r := &request{}
		err := r.apply(v.Kwargs, t.Output())
		if v.Error != "" || err != nil {
			return refused(err)
		}
		return cmp.Diff(v.Config, said(t, r.config)) + cmp.Diff(v.Host, said(t, r.host))
	}
	return ""
}

// said is what a value says as JSON, without members that say nothing.
func said(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var decoded any
	if err := json.Unmarshal(b, &decoded); err != nil {
		t.Fatal(err)
	}
	return clean(decoded)
}

func clean(v any) any {
	switch v := v.(type) {
	case map[string]any:
		kept := map[string]any{}
		for name, value := range v {
			value = clean(value)
			if name == "Init" && value != nil || !silent(value) {
				kept[name] = value
			}
		}
		return kept
	case []any:
		for i := range v {
			v[i] = clean(v[i])
		}
	}
	return v
}

func silent(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case float64:
		return v == 0
	case bool:
		return !v
	case []any:
		for _, e := range v {
			if e != 0.0 {
				return false
			}
		}
		return true // ConsoleSize is always there
	case map[string]any:
		return len(v) == 0
	}
	return false
}
