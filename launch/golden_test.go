package launch_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
)

func TestStepCommand(t *testing.T) {
	const python = "3.12"
	for _, test := range []struct{ name, step, prefect, want string }{
		{"options", `{"prefect_aws.experimental.bundles.upload": {"requires": "prefect-aws==0.5.5", "bucket": "test-bucket", "aws_credentials_block_name": "my-creds"}}`, "3.6.99",
			"uv run --with prefect-aws==0.5.5,prefect==3.6.99 --python 3.12 -m prefect_aws.experimental.bundles.upload --bucket test-bucket --aws-credentials-block-name my-creds --key test-key"},
		{"Prefect itself", `{"m": {"requires": ["prefect", "prefect-aws==0.5.5"]}}`, "3.6.99", "uv run --with prefect==3.6.99,prefect-aws==0.5.5 --python 3.12 -m m --key test-key"},
		{"with a version", `{"m": {"requires": ["prefect-aws", "prefect>=3.6.24"]}}`, "3.6.99", "uv run --with prefect-aws,prefect==3.6.99 --python 3.12 -m m --key test-key"},
		{"with extras and a marker", `{"m": {"requires": ["prefect[aws]>=3.0 ; python_version >= \"3.10\"", "prefect-aws"]}}`, "3.6.99",
			`uv run --with 'prefect[aws]==3.6.99 ; python_version >= "3.10",prefect-aws' --python 3.12 -m m --key test-key`},
		{"unpublished", `{"m": {"requires": ["prefect-aws"]}}`, "3.6.24+dev.abc1234", "uv run --with prefect-aws --python 3.12 -m m --key test-key"},
		{"nothing required", `{"m": {}}`, "3.6.99", "uv run --python 3.12 -m m --key test-key"},
		{"a launcher", `{"m": {"launcher": ["poetry", "run", "python"]}}`, "3.6.99", "poetry run python -m m --key test-key"},
		{"no launcher", `{"m": {"launcher": null, "requires": null}}`, "", "uv run --python 3.12 -m m --key test-key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var step launch.Step
			if err := json.Unmarshal([]byte(test.step), &step); err != nil {
				t.Fatal(err)
			}
			command, err := step.Command("test-key", &launch.StepOptions{Python: python, Prefect: test.prefect})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, launch.Join(command)); diff != "" {
				t.Errorf("command (-want +got):\n%s", diff)
			}
			var again launch.Step
			if b, err := json.Marshal(step); err != nil || json.Unmarshal(b, &again) != nil {
				t.Errorf("written as %s, %v", b, err)
			} else if diff := cmp.Diff(step, again); diff != "" {
				t.Errorf("read again (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStepRefuses(t *testing.T) {
	for _, test := range []struct{ step, want string }{
		{`{}`, "expected exactly one function in step"},
		{`{"a": {}, "b": {}}`, "expected exactly one function in step"},
		{`[]`, "it is not an object"},
		{`{"a": "b"}`, "it is not an object"},
		{`{"m": {"bucket": null}}`, `the option "bucket" is not a string`},
		{`{"m": {"requires": 3}}`, "requires must be a string or a list of strings"},
		{`{"m": {"launcher": []}}`, "launcher must be a non-empty list[str]"},
		{`{"m": {"launcher": ["a", " "]}}`, "launcher[1] must be a non-empty string"},
		{`{"m": {"launcher": ["a"], "requires": "b"}}`, "the launcher cannot be combined with requires"},
		{`{"m": {"_": "b"}}`, `"_" is not the name of an option`},
	} {
		var step launch.Step
		err := json.Unmarshal([]byte(test.step), &step)
		if err == nil {
			_, err = step.Command("k", nil)
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.step, err, test.want)
		}
	}
}

func TestLauncher(t *testing.T) {
	var l launch.Launcher
	if err := json.Unmarshal([]byte(`"my launcher"`), &l); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(launch.Launcher{Upload: []string{"my launcher"}, Execution: []string{"my launcher"}}, l); diff != "" {
		t.Errorf("a string (-want +got):\n%s", diff)
	}
	if err := json.Unmarshal([]byte(`""`), &l); err == nil {
		t.Error("an empty string is taken")
	}
	for _, test := range []struct {
		launcher launch.Launcher
		want     string
	}{
		{launch.Launcher{}, ""},
		{launch.Launcher{Upload: []string{"a"}}, ""},
		{launch.Launcher{Execution: []string{}}, "launch: launcher['execution'] must be a non-empty list[str]"},
		{launch.Launcher{Upload: []string{"a", "\t"}}, "launch: launcher['upload'][1] must be a non-empty string"},
	} {
		got := ""
		if err := test.launcher.Check(); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%+v: %q, want %q", test.launcher, got, test.want)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, test := range []struct {
		name, source string
		want         map[string]any // job variables
		process      bool           // fits process pools only
		err          string
	}{
		{"universal", `{"type": "universal", "config": {"env": {"A": "b", "C": null}}}`, map[string]any{"env": map[string]any{"A": "b", "C": nil}}, false, ""},
		{"without a config", `{"type": "universal"}`, map[string]any{}, false, ""},
		{"subprocess", `{"type": "subprocess", "config": {"stream_output": false, "virtualenv": "/p", "condaenv": null}}`,
			map[string]any{"stream_output": false, "virtualenv": "/p"}, true, ""},
		{"both", `{"type": "subprocess", "config": {"virtualenv": "/p", "condaenv": "c"}}`, nil, false, "virtualenv and condaenv exclude each other"},
		{"no type", `{"config": {}}`, nil, false, `unknown type ""`},
		{"unknown type", `{"type": "subproces"}`, nil, false, `unknown type "subproces": did you mean "subprocess"?`},
		{"not yet", `{"type": "docker", "config": {}}`, nil, false, `unknown type "docker"`},
		{"unknown field", `{"type": "subprocess", "config": {"virtual_env": "x"}}`, nil, false, `unknown subprocess field "virtual_env": did you mean "virtualenv"?`},
		{"another type's", `{"type": "universal", "config": {"stream_output": true}}`, nil, false, `unknown universal field "stream_output"`},
		{"unknown member", `{"typ": "universal"}`, nil, false, `unknown member "typ": did you mean "type"?`},
		{"does not fit", `{"type": "subprocess", "config": {"stream_output": "yes"}}`, nil, false, `subprocess field "stream_output": want boolean, got string`},
		{"empty", `{"type": "subprocess", "config": {"condaenv": ""}}`, nil, false, `subprocess field "condaenv": minLength`},
		{"no object", `{"type": "universal", "config": []}`, nil, false, "the config does not fit"},
		{"no settings", `[]`, nil, false, "they are not an object"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s launch.Settings
			err := json.Unmarshal([]byte(test.source), &s)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, s.JobVariables()); diff != "" {
				t.Errorf("job variables (-want +got):\n%s", diff)
			}
			if err := s.Fits("process"); err != nil {
				t.Error(err)
			}
			if err := s.Fits("docker"); (err != nil) != test.process {
				t.Errorf("docker: %v", err)
			}
			b, err := json.Marshal(s)
			var again launch.Settings
			if err != nil || json.Unmarshal(b, &again) != nil || again.Type != s.Type {
				t.Errorf("written as %s, %v", b, err)
			}
		})
	}
}
