package launch_test

import (
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/flowship/flowship/launch"
)

// What one template makes of one set of variables is always the same, goes through JSON, and
// does not change the template.
func FuzzTemplate(f *testing.F) {
	f.Add(sample, `{"image": "a", "env.A": "b", "list": [1, {"path": "x"}]}`)
	f.Add(`{"job_configuration": {"a": "{{ a }}{{ b }}", "env": {"X": "{{ a[0].b }}"}}, "variables": {"properties": {"a": {"default": [{"b": 1e400}]}, "b": {}, "a[0].b": {}}}}`, `{"b": null}`)
	f.Add(`{"job_configuration": {"env": "{{ env }}"}, "variables": {"additionalProperties": true, "properties": {"env": {"default": {"A": "{{ $PATH }}"}}}}}`, `{"env": [], "x.y[z]": 1, "x": 2}`)
	f.Add(`{"job_configuration": {"a": 1}, "variables": {"properties": {"a": {"$ref": "#/definitions/A"}}, "definitions": {"A": {"anyOf": [{"$ref": "#/definitions/A"}, {"pattern": "(?!x)"}]}}}}`, `{"a": "b"}`)
	f.Add(`{}`, `{}`)
	f.Fuzz(func(t *testing.T, source, given string) {
		template, err := launch.ParseTemplate([]byte(source))
		if err != nil {
			return
		}
		for _, v := range template.Variables() {
			if !template.Declares(v.Name) || v.Type == "" {
				t.Errorf("the variable %+v", v)
			}
		}
		var variables map[string]any
		if json.Unmarshal([]byte(given), &variables) != nil {
			return
		}
		once, err := template.Resolve(variables)
		var wrong *launch.VariableError
		if checked := template.Check(variables); checked != nil && (err == nil || !errors.As(checked, &wrong)) {
			t.Errorf("checked: %v, resolved: %v", checked, err)
		}
		if err != nil {
			return
		}
		first, err := json.Marshal(once)
		if err != nil {
			t.Fatal(err)
		}
		for name := range once {
			once[name] = "changed"
		}
		written, err := json.Marshal(template)
		if err != nil {
			t.Fatal(err)
		}
		again, err := launch.ParseTemplate(written)
		if err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		for _, tm := range []*launch.Template{template, again} {
			twice, err := tm.Resolve(variables)
			if err != nil {
				t.Fatal(err)
			}
			second, err := json.Marshal(twice)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(first), string(second)); diff != "" {
				t.Errorf("the second time (-want +got):\n%s", diff)
			}
		}
	})
}

func FuzzWords(f *testing.F) {
	f.Add(`a 'b c' "d\"e" \f`, "it's", "")
	f.Add("\x00\xff", "é\n", `\`)
	f.Fuzz(func(t *testing.T, line, one, two string) {
		words := []string{one, two}
		if split, err := launch.Split(line); err == nil {
			words = append(words, split...)
		}
		got, err := launch.Split(launch.Join(words))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(words, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("words (-want +got):\n%s", diff)
		}
	})
}

// What was read is written so that the same is read again.
func FuzzSteps(f *testing.F) {
	f.Add(`{"m": {"requires": ["prefect[a,b]>=3 ; (os_name == 'x')"], "bucket": "b"}}`)
	f.Add(`{"m": {"launcher": ["a"], "a,1&amp;": ""}}`)
	f.Add(`{"upload": ["a"], "execution": ["b"]}`)
	f.Add(`["a"]`)
	f.Add(`{"type": "subprocess", "config": {"env": {"A": 1}, "condaenv": "c"}}`)
	f.Fuzz(func(t *testing.T, source string) {
		if !utf8.ValidString(source) {
			return
		}
		var step, step2 launch.Step
		if json.Unmarshal([]byte(source), &step) == nil && source != "null" {
			again(t, step, &step2)
			if diff := cmp.Diff(step, step2, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("step (-want +got):\n%s", diff)
			}
			if command, err := step.Command("k", &launch.StepOptions{Prefect: "3.8.8"}); err == nil && len(command) < 4 {
				t.Errorf("command %q", command)
			}
		}
		var launcher, launcher2 launch.Launcher
		if json.Unmarshal([]byte(source), &launcher) == nil {
			if err := launcher.Check(); err != nil {
				t.Error(err)
			}
			again(t, launcher, &launcher2)
			if diff := cmp.Diff(launcher, launcher2); diff != "" {
				t.Errorf("launcher (-want +got):\n%s", diff)
			}
		}
		var settings, settings2 launch.Settings
		if json.Unmarshal([]byte(source), &settings) == nil && source != "null" && settings.Type != "" {
			again(t, settings, &settings2)
			if diff := cmp.Diff(settings.JobVariables(), settings2.JobVariables()); diff != "" {
				t.Errorf("job variables (-want +got):\n%s", diff)
			}
		}
	})
}

func again(t *testing.T, v, into any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
}
