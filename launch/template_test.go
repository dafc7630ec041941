package launch_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
)

// variables reads the job variables of a test.
func variables(t *testing.T, source string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(source), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

const sample = `{"job_configuration": {"image": "{{ image }}", "env": "{{ env }}", "name": "{{name}}", "tag": "{{ image }}:{{ count }}", "pull": "{{ pull }}", "net": ["{{ net }}", "x"]},
	"variables": {"type": "object", "required": ["image"], "properties": {
		"image": {"type": "string"}, "name": {"type": "string"}, "net": {"type": "string"},
		"pull": {"enum": ["Always", "Never"], "type": "string"},
		"count": {"type": "integer", "default": 3, "minimum": 1},
		"env": {"type": "object", "additionalProperties": {"type": "string"}},
		"list": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"$ref": "#/definitions/Volume"}]}}}, 
		"definitions": {"Volume": {"type": "object", "required": ["path"], "properties": {"path": {"type": "string"}, "mode": {"type": "string"}}}}}}`

func TestParseTemplateRefuses(t *testing.T) {
	for _, test := range []struct{ name, source, want string }{
		{"not JSON", `{`, "unexpected end of JSON input"},
		{"more than one", `{} {}`, "after top-level value"},
		{"not an object", `[]`, "it is not an object"},
		{"no variables", `{"job_configuration": {"a": "b"}}`, `it has no "variables"`},
		{"no configuration", `{"job_configuration": {}, "variables": {"type": "object"}}`, `it has no "job_configuration"`},
		{"undeclared", `{"job_configuration": {"a": {"b": ["x {{ c }}"]}}, "variables": {"properties": {"d": {}}}}`, `uses "c", which is not among the variables`},
		{"a block", `{"job_configuration": {"a": "{{ prefect.blocks.x.y }}"}, "variables": {"properties": {"d": {}}}}`, `uses "prefect.blocks.x.y"`},
		{"no schema", `{"job_configuration": {"a": "b"}, "variables": {"properties": {"d": {"type": "strng"}}}}`, "the schema of the variables"},
		{"a file", `{"job_configuration": {"a": "b"}, "variables": {"properties": {"d": {"$ref": "file:///etc/passwd"}}}}`, "it is outside the template"},
		{"a default", `{"job_configuration": {"a": "b"}, "variables": {"properties": {"d": {"type": "string", "default": 1}}}}`, `a default: job variable "d": want string, got number`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := launch.ParseTemplate([]byte(test.source)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	template := launch.MustParseTemplate(sample)
	for _, test := range []struct{ name, variables, want string }{
		{"fits", `{"image": "a", "count": 4, "env": {"A": "b", "N": 1, "off": null}, "name": null}`, ""},
		{"dotted", `{"image": "a", "env.MODE": "fast", "env": {"A": "b"}}`, ""},
		{"known to a server", `{"image": "{{ prefect.variables.image }}", "count": "{{ prefect.blocks.x.y }}"}`, ""},
		{"a block", `{"image": "a", "name": {"$ref": {"block_document_id": "x"}}}`, ""},
		{"unknown", `{"iamge": "a"}`, `unknown job variable "iamge": did you mean "image"?`},
		{"other case", `{"image": "a", "Env": {}}`, `unknown job variable "Env": did you mean "env"?`},
		{"unknown, dotted", `{"image": "a", "evn.A": "b"}`, `unknown job variable "evn": did you mean "env"?`},
		{"like nothing", `{"image": "a", "zzz": 1}`, `unknown job variable "zzz"`},
		{"missing", `{}`, `job variable "image": it is required, and has no default`},
		{"required and null", `{"image": null}`, `job variable "image": want string, got null`},
		{"of another type", `{"image": 3}`, `job variable "image": want string, got number`},
		{"env is no object", `{"image": "a", "env": ["A=b"]}`, `job variable "env": want object, got array`},
		{"a variable of env", `{"image": "a", "env": {"A": ["secret"]}}`, `job variable "env": "A": want string, got array`},
		{"no integer", `{"image": "a", "count": 1.5}`, `job variable "count": want integer, got number`},
		{"too small", `{"image": "a", "count": 0}`, `job variable "count": minimum: got 0, want 1`},
		{"not one of them", `{"image": "a", "pull": "Sometimes"}`, `job variable "pull": value must be one of 'Always', 'Never'`},
		{"within a list", `{"image": "a", "list": [1, {"path": "x"}, {"path": 3}]}`, `job variable "list": "2.path": want string, got number`},
		{"two holders", `{"image": "a", "name": "x", "name.a": 1, "name.a.b": 2}`, `job variable "name.a.b": what is to hold it has a value already that is not an object`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if err := template.Check(variables(t, test.variables)); err != nil {
				var wrong *launch.VariableError
				if got = err.Error(); !errors.As(err, &wrong) {
					t.Errorf("%T is no VariableError", err)
				}
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	template := launch.MustParseTemplate(sample)
	for _, test := range []struct{ name, variables, want string }{
		{"little", `{"image": "a"}`, `{"image":"a","net":["x"],"tag":"a:3"}`},
		{"env", `{"image": "a", "env": {"N": 1.50, "B": true, "off": null}, "env.A": "{{ image }}"}`,
			`{"env":{"A":"{{ image }}","B":"True","N":"1.5","off":null},"image":"a","net":["x"],"tag":"a:3"}`},
		{"types", `{"image": "a", "count": 12, "net": "n", "name": null}`,
			`{"image":"a","name":null,"net":["n","x"],"tag":"a:12"}`},
		{"a server's", `{"image": "{{ prefect.variables.image }}"}`, `launch: job variable "image": prefect.variables.image needs a Prefect server`},
		{"a block", `{"image": "a", "name": {"$ref": {"block_document_id": "x"}}}`, `launch: job variable "name": a block needs a Prefect server`},
	} {
		t.Run(test.name, func(t *testing.T) {
			configuration, err := template.Resolve(variables(t, test.variables))
			got, _ := json.Marshal(configuration)
			if err != nil {
				got = []byte(err.Error())
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
		})
	}
}

// A template is written as it was read.
func TestMarshalTemplate(t *testing.T) {
	const source = `{"variables":{"type":"object","properties":{"z":{"default":1.0},"a":{}}},"job_configuration":{"z":"{{ z }}","a":"<{{ a }}>"}}`
	b, err := launch.MustParseTemplate(" " + strings.ReplaceAll(source, ":", ": ")).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(source, string(b)); diff != "" {
		t.Errorf("template (-want +got):\n%s", diff)
	}
	empty := launch.MustParseTemplate(`{}`)
	if configuration, err := empty.Resolve(nil); err != nil || len(configuration) != 0 {
		t.Errorf("an empty one makes %v, %v", configuration, err)
	}
}

func TestWords(t *testing.T) {
	for _, test := range []struct {
		line string
		want []string
	}{
		{"", nil},
		{" \t\r\n", nil},
		{`a  b`, []string{"a", "b"}},
		{`a '' ""`, []string{"a", "", ""}},
		{`'a b'"c d"e\ f`, []string{"a bc de f"}},
		{`"\"\\\n$x" '\'`, []string{`"\\n$x`, `\`}},
		{`# a`, []string{"#", "a"}},
		{"'a\nb'", []string{"a\nb"}},
	} {
		got, err := launch.Split(test.line)
		if err != nil {
			t.Errorf("%q: %v", test.line, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.line, diff)
		}
	}
	for _, line := range []string{`'a`, `"a`, `a\`, `"\`} {
		if got, err := launch.Split(line); err == nil {
			t.Errorf("%q makes %q", line, got)
		}
	}
	if got, want := launch.Join([]string{"a", "", "it's", "x y", "@%+=:,./-_", "é"}), `a '' 'it'"'"'s' 'x y' @%+=:,./-_ 'é'`; got != want {
		t.Errorf("joined %s, want %s", got, want)
	}
}

// The defaults are in the template's order, and what a variable may be is said in words.
func TestVariables(t *testing.T) {
	template := launch.MustParseTemplate(`{"job_configuration": {"a": "{{ zone }}"}, "variables": {"required": ["zone"], "properties": {
		"zone": {"type": "string", "title": "Zone", "description": "Where it is."},
		"policy": {"anyOf": [{"enum": ["Always", "Never"]}, {"type": "null"}], "default": "Never"},
		"limit": {"type": ["integer", "null"], "default": null},
		"env": {"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}},
		"volumes": {"type": "array", "items": {"type": "string"}, "default": ["a:b"]},
		"cluster": {"anyOf": [{"$ref": "#/definitions/Cluster"}, {"type": "null"}]},
		"tree": {"$ref": "#/$defs/Tree"},
		"else": {"$ref": "#/$defs/Else"}}, "Properties": {"other": {}},
		"definitions": {"Cluster": {"type": "object", "block_type_slug": "cluster"}},
		"$defs": {"Tree": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Tree"}]}, "Else": {}}}}`)
	want := []launch.Variable{
		{Name: "zone", Type: "string", Required: true, Title: "Zone", Description: "Where it is."},
		{Name: "policy", Type: `"Always" or "Never"`, Default: []byte(`"Never"`)},
		{Name: "limit", Type: "integer"},
		{Name: "env", Type: "object of string or integer"},
		{Name: "volumes", Type: "list of string", Default: []byte(`["a:b"]`)},
		{Name: "cluster", Type: "block of type cluster"},
		{Name: "tree", Type: "string or any"},
		{Name: "else", Type: "any"},
	}
	if diff := cmp.Diff(want, template.Variables()); diff != "" {
		t.Error(diff)
	}
}
