package launch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Template is a work pool's base job template: what the jobs of the pool look like, with
// placeholders, and the schema of the job variables that fill them.
//
//	{"job_configuration": {"image": "{{ image }}", …},
//	 "variables": {"type": "object", "properties": {"image": {"type": "string"}, …}}}
//
// Its rules are Prefect's. A template never changes, and is safe for concurrent use.
type Template struct {
	source        []byte // as it was parsed, without white space between
	configuration map[string]any
	variables     *schema
	defaults      map[string]any // of the variables that have one
}

// ParseTemplate reads a template, and refuses what a Prefect server refuses: one of both parts
// missing, a placeholder that no variable stands behind, a schema that is none, a default that
// does not fit it. An empty object is a template without any of them.
func ParseTemplate(source []byte) (*Template, error) {
	t, err := parseTemplate(source)
	if err != nil {
		return nil, fmt.Errorf("launch: base job template: %w", err)
	}
	return t, nil
}

// MustParseTemplate is [ParseTemplate] for the templates that drivers are built with.
func MustParseTemplate(source string) *Template {
	t, err := ParseTemplate([]byte(source))
	if err != nil {
		panic(err)
	}
	return t
}

func parseTemplate(source []byte) (*Template, error) {
	decoded, err := decode(source)
	if err != nil {
		return nil, err
	}
	object, ok := decoded.(map[string]any)
	if !ok {
		return nil, errors.New("it is not an object")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, source); err != nil {
		return nil, err
	}
	t := &Template{source: compact.Bytes(), configuration: map[string]any{}, defaults: map[string]any{}}
	variables := map[string]any{}
	if len(object) > 0 {
		if t.configuration, err = member(object, "job_configuration"); err != nil {
			return nil, err
		}
		if variables, err = member(object, "variables"); err != nil {
			return nil, err
		}
	}
	if t.variables, err = newSchema(variables); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(placeholders(t.configuration)) {
		if _, ok := t.variables.properties[name]; !ok {
			return nil, fmt.Errorf("the job configuration uses %q, which is not among the variables", name)
		}
	}
	for name, property := range t.variables.properties {
		// A default of null is none.
		if p, ok := property.(map[string]any); ok && p["default"] != nil {
			t.defaults[name] = p["default"]
		}
	}
	if err := t.variables.check(t.defaults, false); err != nil {
		return nil, fmt.Errorf("a default: %w", err)
	}
	return t, nil
}

// member is the object of that name, which must hold something.
func member(object map[string]any, name string) (map[string]any, error) {
	m, ok := object[name].(map[string]any)
	if !ok && object[name] != nil {
		return nil, fmt.Errorf("%q is not an object", name)
	}
	if len(m) == 0 {
		return nil, fmt.Errorf("it has no %q", name)
	}
	return m, nil
}

// MarshalJSON returns the template as it was parsed, keys in their order.
func (t *Template) MarshalJSON() ([]byte, error) { return t.source, nil }

// Declares reports whether the template has that job variable.
func (t *Template) Declares(name string) bool {
	_, ok := t.variables.properties[name]
	return ok
}

// Check says whether the job variables, with the defaults of the others, fit the template. Its
// error is a [*VariableError]. Null stands for no value, unless the variable is required. A value
// that only a Prefect server knows, such as "{{ prefect.variables.region }}", fits everywhere.
func (t *Template) Check(variables map[string]any) error {
	_, err := t.values(variables)
	return err
}

// values checks the job variables and returns them as JSON values, dotted names expanded.
func (t *Template) values(variables map[string]any) (map[string]any, error) {
	values, err := toJSON(variables)
	if err != nil {
		return nil, err
	}
	if values, err = expand(values); err != nil {
		return nil, err
	}
	all := maps.Clone(t.defaults)
	maps.Copy(all, values)
	return values, t.variables.check(all, true)
}

// expand makes {"env": {"MODE": "fast"}} of {"env.MODE": "fast"}. Where both forms are given,
// they are merged, and the nested one wins.
func expand(values map[string]any) (map[string]any, error) {
	expanded := make(map[string]any, len(values))
	names := slices.Sorted(maps.Keys(values))
	for _, name := range names {
		if strings.Contains(name, ".") && !put(expanded, path(name), values[name]) {
			return nil, &VariableError{Name: name, Reason: "what is to hold it has a value already that is not an object"}
		}
	}
	for _, name := range names {
		if !strings.Contains(name, ".") {
			expanded[name] = merge(expanded[name], values[name])
		}
	}
	return expanded, nil
}

// put sets a value in nested objects, and makes them where there are none.
func put(object map[string]any, path []string, value any) bool {
	for _, key := range path[:len(path)-1] {
		next, ok := object[key].(map[string]any)
		if _, exists := object[key]; exists && !ok {
			return false
		} else if !ok {
			next = map[string]any{}
			object[key] = next
		}
		object = next
	}
	object[path[len(path)-1]] = value
	return true
}

// merge lays one value over another; objects are merged member by member.
func merge(under, over any) any {
	u, ok := under.(map[string]any)
	o, both := over.(map[string]any)
	if !ok || !both {
		return over
	}
	merged := maps.Clone(u)
	for key, value := range o {
		merged[key] = merge(u[key], value)
	}
	return merged
}

// Resolve checks the job variables and returns the job configuration that they make. Later
// ones win: defaults, then the job variables, each as a whole, but env variable by variable.
//
// A text that is one placeholder becomes the value, with its type; a placeholder within a longer
// text becomes text, as Python writes it. Without a value, the former is left out and the latter
// is empty. "{{ $NAME }}" is a variable of this program's environment.
//
// Numbers are [json.Number]. The values of env are strings, or nil for a variable that the job
// is not to have. What only a Prefect server knows is an error.
func (t *Template) Resolve(variables map[string]any) (map[string]any, error) {
	return t.ResolveWith(context.Background(), variables, nil)
}

// ResolveWith is [Template.Resolve] with what a Prefect server knows; nil knows nothing. It is put
// in last, where the values of job variables name it, and not resolved again.
//
// {"$ref": {"block_document_id": …}} becomes the block's data, "{{ prefect.blocks.TYPE.NAME }}" too
// or, when that is a "value" alone, the value; with a path behind the name, what is there. Within
// a longer text it has to be neither an object nor a list. "{{ prefect.variables.NAME }}" becomes
// the variable's value, and is empty where there is no such variable.
func (t *Template) ResolveWith(ctx context.Context, variables map[string]any, refs References) (map[string]any, error) {
	configuration, err := t.resolve(ctx, variables, refs)
	if err != nil {
		return nil, fmt.Errorf("launch: %w", err)
	}
	return configuration, nil
}

func (t *Template) resolve(ctx context.Context, variables map[string]any, refs References) (map[string]any, error) {
	given, err := t.values(variables)
	if err != nil {
		return nil, err
	}
	template := maps.Clone(t.configuration)
	values := maps.Clone(t.defaults)
	// The default variables stay when others are given, and may hold placeholders.
	if env, _ := values["env"].(map[string]any); len(env) > 0 {
		template["env"] = overlay(template["env"], env)
	}
	maps.Copy(values, given)
	if env, _ := values["env"].(map[string]any); len(env) > 0 {
		if _, ok := template["env"].(map[string]any); ok {
			template["env"] = overlay(template["env"], env)
		}
	}
	filled, _ := fill(template, values)
	configuration := filled.(map[string]any)
	if err := resolveReferences(ctx, configuration, refs); err != nil {
		return nil, err
	}
	if configuration["env"] == nil {
		delete(configuration, "env")
	}
	if env, ok := configuration["env"].(map[string]any); ok {
		for name, value := range env {
			if value != nil { // its own copy, as all that is filled in
				env[name] = PythonText(value)
			}
		}
	}
	return configuration, nil
}

// overlay lays variables over those of the template, if it has any.
func overlay(under any, over map[string]any) map[string]any {
	u, _ := under.(map[string]any)
	merged := make(map[string]any, len(u)+len(over))
	maps.Copy(merged, u)
	maps.Copy(merged, over)
	return merged
}
