package launch_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/flowship/flowship/launch"
)

// vectors hands out the cases of a file that Prefect made, one after the other.
func vectors[T any](t *testing.T, name string, check func(t *testing.T, line int, v T)) {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "testdata", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	n := 0
	for lines.Scan() {
		n++
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		check(t, n, v)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if n < 20 {
		t.Errorf("%s has %d cases", name, n)
	}
}

func TestWordsVectors(t *testing.T) {
	type vector struct {
		Words, Split []string
		Line, Error  string
	}
	vectors(t, "words.jsonl", func(t *testing.T, line int, v vector) {
		want := v.Split
		if v.Words != nil {
			if got := launch.Join(v.Words); got != v.Line {
				t.Errorf("line %d: joined %s, want %s", line, got, v.Line)
			}
			want = v.Words
		}
		got, err := launch.Split(v.Line)
		if (err != nil) != (v.Error != "") {
			t.Errorf("line %d: %q: %v, want %q", line, v.Line, err, v.Error)
			return
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("line %d: %q (-want +got):\n%s", line, v.Line, diff)
		}
	})
}

// numbers reads JSON with its numbers as they are written.
func numbers(t *testing.T, source []byte) map[string]any {
	t.Helper()
	var v map[string]any
	d := json.NewDecoder(bytes.NewReader(source))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTemplateVectors(t *testing.T) {
	t.Setenv("FLOWSHIP_VECTOR", "from outside")
	type vector struct {
		Template, Variables, Configuration json.RawMessage
		Refused                            string
	}
	vectors(t, "template.jsonl", func(t *testing.T, line int, v vector) {
		template, err := launch.ParseTemplate(v.Template)
		if (err != nil) != (v.Refused != "") {
			t.Errorf("line %d: %v, want %q", line, err, v.Refused)
		}
		if err != nil || v.Refused != "" {
			return
		}
		got, err := template.Resolve(numbers(t, v.Variables))
		if err != nil {
			t.Errorf("line %d: %v", line, err)
			return
		}
		if got["command"] == "" { // which is none
			got["command"] = nil
		}
		if diff := cmp.Diff(numbers(t, v.Configuration), got, sameNumber); diff != "" {
			t.Errorf("line %d: configuration (-want +got):\n%s", line, diff)
		}
	})
}

// 1e20 is 1e+20.
var sameNumber = cmp.Comparer(func(a, b json.Number) bool {
	x, errX := a.Float64()
	y, errY := b.Float64()
	return a == b || errX == nil && errY == nil && x == y
})

func TestCheckVectors(t *testing.T) {
	type vector struct {
		Template, Variables json.RawMessage
		Refused             string
		Fits                bool
	}
	vectors(t, "check.jsonl", func(t *testing.T, line int, v vector) {
		template, err := launch.ParseTemplate(v.Template)
		if (err != nil) != (v.Refused != "") {
			t.Errorf("line %d: %s: %v, want %q", line, v.Template, err, v.Refused)
		}
		if err != nil || v.Refused != "" {
			return
		}
		err = template.Check(numbers(t, v.Variables))
		var wrong *launch.VariableError
		if (err == nil) != v.Fits || err != nil && !errors.As(err, &wrong) {
			t.Errorf("line %d: %s in %s: %v, want fits %v", line, v.Variables, v.Template, err, v.Fits)
		}
	})
}

func TestStepVectors(t *testing.T) {
	type vector struct {
		Step                 json.RawMessage
		Key, Prefect, Python string
		Quiet                bool
		Launcher             *launch.Launcher
		Command              []string
		Error                string
	}
	vectors(t, "step.jsonl", func(t *testing.T, line int, v vector) {
		var step launch.Step
		err := json.Unmarshal(v.Step, &step)
		var got []string
		if err == nil {
			if v.Launcher != nil {
				step = step.With(v.Launcher.Upload)
			}
			got, err = step.Command(v.Key, &launch.StepOptions{Quiet: v.Quiet, Python: v.Python, Prefect: v.Prefect})
		}
		if (err != nil) != (v.Error != "") {
			t.Errorf("line %d: %s: %v, want %q", line, v.Step, err, v.Error)
			return
		}
		if diff := cmp.Diff(v.Command, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("line %d: %s (-want +got):\n%s", line, v.Step, diff)
		}
	})
}

func TestLauncherVectors(t *testing.T) {
	type vector struct {
		Launcher, Normalised json.RawMessage
		Error                string
	}
	vectors(t, "launcher.jsonl", func(t *testing.T, line int, v vector) {
		var l launch.Launcher
		err := l.UnmarshalJSON(v.Launcher)
		got, want := "", "launch: "+v.Error
		if err != nil {
			got = err.Error()
		} else if b, err := json.Marshal(l); err != nil {
			t.Errorf("line %d: %v", line, err)
		} else {
			got, want = string(b), string(v.Normalised)
		}
		if got != want {
			t.Errorf("line %d: %s: %s, want %s", line, v.Launcher, got, want)
		}
	})
}

// The templates of all of Prefect's workers can be read, and need nothing that they do not say.
func TestWorkerTemplates(t *testing.T) {
	for name, source := range workerTemplates(t) {
		template, err := launch.ParseTemplate(source)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		values := map[string]any{"command": "echo", "env": map[string]string{"A": "b"}}
		for _, required := range []string{"image", "region", "resource_group_name", "subscription_id"} {
			if template.Declares(required) {
				values[required] = "x"
			}
		}
		configuration, err := template.Resolve(values)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if configuration["command"] != "echo" && !strings.HasPrefix(name, "cloud-run") {
			t.Errorf("%s: the command is %v", name, configuration["command"])
		}
	}
}

func workerTemplates(t *testing.T) map[string]json.RawMessage {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "vectors", "worker-templates.json"))
	if err != nil {
		t.Fatal(err)
	}
	var templates map[string]json.RawMessage
	if err := json.Unmarshal(b, &templates); err != nil {
		t.Fatal(err)
	}
	if len(templates) < 8 {
		t.Errorf("there are %d templates", len(templates))
	}
	return templates
}
