package launch_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
)

// server knows what a Prefect server would.
type server struct {
	Blocks, IDs, Values map[string]json.RawMessage
	asked               map[string]int
}

var errGone = errors.New("gone")

func (s *server) get(from map[string]json.RawMessage, key string) (json.RawMessage, bool) {
	if s.asked == nil {
		s.asked = map[string]int{}
	}
	s.asked[key]++
	v, ok := from[key]
	return v, ok
}

func (s *server) Block(_ context.Context, slug, name string) (json.RawMessage, error) {
	if v, ok := s.get(s.Blocks, slug+"/"+name); ok {
		return v, nil
	}
	return nil, errGone
}

func (s *server) BlockByID(_ context.Context, id string) (json.RawMessage, error) {
	if v, ok := s.get(s.IDs, id); ok {
		return v, nil
	}
	return nil, errGone
}

func (s *server) Variable(_ context.Context, name string) (json.RawMessage, bool, error) {
	v, ok := s.get(s.Values, name)
	return v, ok, nil
}

func TestReferenceVectors(t *testing.T) {
	type vector struct {
		server
		Template, Variables, Configuration json.RawMessage
		Error                              string
	}
	var known server
	vectors(t, "reference.jsonl", func(t *testing.T, line int, v vector) {
		if line == 1 {
			known = v.server
			return
		}
		template, err := launch.ParseTemplate(v.Template)
		if err != nil {
			t.Errorf("line %d: %v", line, err)
			return
		}
		got, err := template.ResolveWith(t.Context(), numbers(t, v.Variables), &known)
		var wrong *launch.VariableError
		is := ""
		switch {
		case errors.Is(err, errGone):
			is = "ObjectNotFound"
		case errors.As(err, &wrong):
			is = "ValueError"
		case err != nil:
			is = err.Error()
		}
		if is != v.Error {
			t.Errorf("line %d: %s: %v, want %q", line, v.Variables, err, v.Error)
		}
		if err != nil || v.Error != "" {
			return
		}
		if diff := cmp.Diff(numbers(t, v.Configuration), got, sameNumber); diff != "" {
			t.Errorf("line %d: %s (-want +got):\n%s", line, v.Variables, diff)
		}
	})
}

// TestReferenceErrors: what is wrong is said, but not what the server knows.
func TestReferenceErrors(t *testing.T) {
	const template = `{"job_configuration": {"a": "{{ a }}", "b": "{{ b }}"}, "variables": {"type": "object", "properties": {"a": {}, "b": {}}}}`
	parsed, err := launch.ParseTemplate([]byte(template))
	if err != nil {
		t.Fatal(err)
	}
	known := &server{Blocks: map[string]json.RawMessage{
		"secret/token": json.RawMessage(`{"value": "s3cr3t"}`), "json/j": json.RawMessage(`{"value": {"s3cr3t": 1}}`), "bad/bad": json.RawMessage(`s3cr3t`), "nil/nil": nil,
	}}
	for _, test := range []struct {
		a    any
		want string
	}{
		{"{{ prefect.blocks.secret.token.key }}", `launch: job variable "a": block "token" of type "secret" has nothing at "key"`},
		{"x {{ prefect.blocks.json.j }}", `launch: job variable "a": prefect.blocks.json.j is an object or a list, which cannot stand within a text: name a part of it`},
		{"{{ prefect.blocks.secret }}", `launch: job variable "a": prefect.blocks.secret names no block: it has to be prefect.blocks.TYPE.NAME`},
		{map[string]any{"$ref": map[string]any{"block_document_id": 1}}, `launch: job variable "a": the id of a block is not a text`},
		{[]any{"{{ prefect.blocks.secret.gone }}"}, `launch: job variable "a": block "gone" of type "secret": gone`},
		{"{{ prefect.blocks.bad.bad }}", `launch: job variable "a": block "bad" of type "bad": what the server says is not JSON`},
		{"{{ prefect.blocks.nil.nil }}", `launch: job variable "a": block "nil" of type "nil": what the server says is not JSON`},
	} {
		_, err := parsed.ResolveWith(t.Context(), map[string]any{"a": test.a}, known)
		if err == nil || err.Error() != test.want {
			t.Errorf("%v: %v, want %s", test.a, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%v: the error shows a secret", test.a)
		}
	}

	// Each thing is asked for once, and nobody gets another one's copy.
	ref := "{{ prefect.blocks.json.j }}"
	known.asked = nil
	got, err := parsed.ResolveWith(t.Context(), map[string]any{"a": ref, "b": []any{ref, "{{ prefect.variables.v }}", "{{ prefect.variables.v }}"}}, known)
	if err != nil {
		t.Fatal(err)
	}
	got["a"].(map[string]any)["s3cr3t"] = "changed"
	if diff := cmp.Diff([]any{map[string]any{"s3cr3t": json.Number("1")}, "", ""}, got["b"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"json/j": 1, "v": 1}, known.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// What is put in is the same each time, whatever it looks like.
func FuzzReferences(f *testing.F) {
	f.Add(`x {{ prefect.blocks.a.b.c[0] }}{{ prefect.variables.v }}`, `{"value": {"c": ["{{ prefect.variables.v }}"]}}`, `"{{ prefect.blocks.a.b }}"`)
	f.Add(`{{ prefect.blocks.a.b[1] }}`, `[1]`, `null`)
	f.Fuzz(func(t *testing.T, text, block, variable string) {
		template, err := launch.ParseTemplate([]byte(`{"job_configuration": {"a": "{{ a }}"}, "variables": {"type": "object", "properties": {"a": {}}}}`))
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]any{"a": map[string]any{"x": text, "$ref": map[string]any{"block_document_id": ""}, "y": []any{text, map[string]any{"$ref": map[string]any{"block_document_id": "1"}}}}}
		var first string
		for i := range 2 {
			known := &server{Blocks: map[string]json.RawMessage{"a/b": json.RawMessage(block)}, IDs: map[string]json.RawMessage{"1": json.RawMessage(block)}, Values: map[string]json.RawMessage{"v": json.RawMessage(variable)}}
			got, err := template.ResolveWith(t.Context(), values, known)
			written := "error"
			if err == nil {
				b, err := json.Marshal(got)
				if err != nil {
					t.Fatal(err)
				}
				written = string(b)
			}
			if i == 0 {
				first = written
			} else if first != written {
				t.Errorf("%s, and then %s", first, written)
			}
		}
	})
}
