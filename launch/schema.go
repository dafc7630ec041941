package launch

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// VariableError is a job variable that the base job template does not have, or whose value does
// not fit it.
type VariableError struct {
	// Name is the job variable's.
	Name string
	// Reason is what is wrong with its value; "" says that there is no such variable.
	Reason string
	// Near is the name that may have been meant, or "".
	Near string
}

func (e *VariableError) Error() string {
	switch {
	case e.Reason != "":
		return fmt.Sprintf("job variable %q: %s", e.Name, e.Reason)
	case e.Near != "":
		return fmt.Sprintf("unknown job variable %q: did you mean %q?", e.Name, e.Near)
	}
	return fmt.Sprintf("unknown job variable %q", e.Name)
}

// schema is the JSON schema of an object's members.
type schema struct {
	properties map[string]any
	required   map[string]bool
	open       bool // says itself that members beside the properties are welcome
	compiled   *jsonschema.Schema
	lenient    *jsonschema.Schema // the same, but nothing is required
}

// envName is the variable whose values are environment variables: scalars become text, null
// unsets.
const envName = "env"

func newSchema(source map[string]any) (*schema, error) {
	s := &schema{required: map[string]bool{}}
	properties, ok := source["properties"].(map[string]any)
	if !ok && source["properties"] != nil {
		return nil, errors.New("the properties of the variables are not an object")
	}
	s.properties = properties
	if names, ok := source["required"].([]any); ok {
		for _, name := range names {
			if name, ok := name.(string); ok {
				s.required[name] = true
			}
		}
	}
	switch more := source["additionalProperties"].(type) {
	case bool:
		s.open = more
	case map[string]any:
		s.open = true
	}
	if source["patternProperties"] != nil {
		s.open = true
	}
	var err error
	if s.compiled, err = compile(nullable(source)); err != nil {
		return nil, err
	}
	s.lenient, err = compile(optional(nullable(source)).(map[string]any))
	return s, err
}

func compile(source map[string]any) (*jsonschema.Schema, error) {
	const url = "mem:///variables"
	c := jsonschema.NewCompiler()
	c.UseLoader(closed{})
	c.UseRegexpEngine(compilePattern)
	if err := c.AddResource(url, source); err != nil {
		return nil, fmt.Errorf("the schema of the variables: %w", plain(err))
	}
	compiled, err := c.Compile(url)
	if err != nil {
		return nil, fmt.Errorf("the schema of the variables: %w", plain(err))
	}
	return compiled, nil
}

// closed fetches nothing: a schema stands for itself.
type closed struct{}

func (closed) Load(string) (any, error) { return nil, errors.New("it is outside the template") }

// compilePattern takes a pattern that only Python understands for one that everything matches;
// whoever gets the value will tell.
func compilePattern(pattern string) (jsonschema.Regexp, error) {
	if re, err := regexp.Compile(pattern); err == nil {
		return re, nil
	}
	return anything(pattern), nil
}

type anything string

func (a anything) String() string        { return string(a) }
func (anything) MatchString(string) bool { return true }

// plain is the error without the addresses that mean nothing to anybody.
func plain(err error) error {
	var invalid *jsonschema.SchemaValidationError
	if !errors.As(err, &invalid) {
		return err
	}
	var detail *jsonschema.ValidationError
	if !errors.As(invalid.Err, &detail) {
		return invalid.Err
	}
	at, reason := explain(detail)
	return fmt.Errorf("%q: %s", strings.Join(at, "."), reason)
}

// nullable is a copy of the schema as Prefect reads it: members that are not required may be
// null, also those of the definitions.
func nullable(source map[string]any) map[string]any {
	s := maps.Clone(source)
	for _, part := range []string{"definitions", "$defs"} {
		definitions, ok := s[part].(map[string]any)
		if !ok {
			continue
		}
		definitions = maps.Clone(definitions)
		for name, d := range definitions {
			if d, ok := d.(map[string]any); ok {
				definitions[name] = nullable(d)
			}
		}
		s[part] = definitions
	}
	properties, ok := s["properties"].(map[string]any)
	if !ok {
		return s
	}
	properties = maps.Clone(properties)
	required, _ := s["required"].([]any)
	for name, p := range properties {
		property, ok := p.(map[string]any)
		if !ok {
			continue
		}
		property = nullable(property)
		if property["type"] != nil && !slices.Contains(required, any(name)) {
			properties[name] = map[string]any{"anyOf": []any{property, map[string]any{"type": "null"}}}
			continue
		}
		properties[name] = property
	}
	s["properties"] = properties
	return s
}

// optional is a copy of the schema that requires nothing, at no level.
func optional(v any) any {
	switch v := v.(type) {
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = optional(e)
		}
		return c
	case map[string]any:
		c := make(map[string]any, len(v))
		for key, e := range v {
			if key != "required" {
				c[key] = optional(e)
			}
		}
		return c
	}
	return v
}

// check compares values with the schema; the defaults alone need not be complete.
func (s *schema) check(values map[string]any, complete bool) error {
	known := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		if _, ok := s.properties[name]; !ok && !s.open {
			return &VariableError{Name: name, Near: Nearest(name, maps.Keys(s.properties))}
		}
		switch {
		case value == nil && !s.required[name], unknowable(value) != "":
		case name == envName:
			known[name] = environment(value)
		default:
			known[name] = value
		}
	}
	compiled := s.compiled
	if !complete {
		compiled = s.lenient
	}
	err := compiled.Validate(known)
	var invalid *jsonschema.ValidationError
	if err == nil || !errors.As(err, &invalid) {
		return err
	}
	return s.variableError(invalid, values)
}

// environment is what of env has to fit its schema.
func environment(value any) any {
	env, ok := value.(map[string]any)
	if !ok {
		return value
	}
	texts := make(map[string]any, len(env))
	for name, v := range env {
		switch v.(type) {
		case nil:
		case map[string]any, []any:
			texts[name] = v
		default:
			texts[name] = PythonText(v)
		}
	}
	return texts
}

func (s *schema) variableError(invalid *jsonschema.ValidationError, values map[string]any) error {
	var first *VariableError
	for _, cause := range causes(invalid) {
		if missing, ok := cause.ErrorKind.(*kind.Required); ok && len(cause.InstanceLocation) == 0 {
			for _, name := range slices.Sorted(slices.Values(missing.Missing)) {
				// What a server is going to fill in is not missing.
				if values[name] == nil && first == nil {
					first = &VariableError{Name: name, Reason: "it is required, and has no default"}
				}
			}
			continue
		}
		at, reason := explain(cause)
		e := &VariableError{Reason: reason}
		if len(at) > 0 {
			e.Name = at[0]
		}
		if len(at) > 1 {
			e.Reason = fmt.Sprintf("%q: %s", strings.Join(at[1:], "."), reason)
		}
		return e
	}
	if first == nil {
		return nil
	}
	return first
}

// causes are those of the first level, in order of their names.
func causes(e *jsonschema.ValidationError) []*jsonschema.ValidationError {
	flat := e.Causes
	for len(flat) == 1 && len(flat[0].Causes) > 0 && len(flat[0].InstanceLocation) == 0 {
		flat = flat[0].Causes
	}
	if len(flat) == 0 {
		return []*jsonschema.ValidationError{e}
	}
	return slices.SortedFunc(slices.Values(flat), func(a, b *jsonschema.ValidationError) int {
		return slices.Compare(a.InstanceLocation, b.InstanceLocation)
	})
}

// explain finds the innermost place where something does not fit, and says why not. Of several
// schemas that would do, the one that fits furthest is meant.
func explain(e *jsonschema.ValidationError) (at []string, reason string) {
	var leaves []*jsonschema.ValidationError
	var collect func(*jsonschema.ValidationError)
	collect = func(e *jsonschema.ValidationError) {
		for _, c := range e.Causes {
			collect(c)
		}
		if len(e.Causes) == 0 {
			leaves = append(leaves, e)
		}
	}
	collect(e)
	deepest := slices.MaxFunc(leaves, func(a, b *jsonschema.ValidationError) int {
		return len(a.InstanceLocation) - len(b.InstanceLocation)
	})
	at = deepest.InstanceLocation
	var want []string
	for _, l := range leaves {
		t, ok := l.ErrorKind.(*kind.Type)
		if !slices.Equal(l.InstanceLocation, at) {
			continue
		}
		if !ok {
			// More telling than that it is not, say, null.
			return at, withoutValue(l)
		}
		want = append(want, t.Want...)
		reason = t.Got
	}
	slices.Sort(want)
	want = slices.Compact(want)
	if len(want) > 1 { // null goes without saying
		want = slices.DeleteFunc(want, func(w string) bool { return w == "null" })
	}
	return at, fmt.Sprintf("want %s, got %s", strings.Join(want, " or "), reason)
}

// withoutValue says what is wrong with a value and does not show it: it may be secret.
func withoutValue(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.Pattern:
		return fmt.Sprintf("it does not match the pattern %q", k.Want)
	case *kind.Required:
		return fmt.Sprintf("it lacks %q", k.Missing)
	}
	return e.ErrorKind.LocalizedString(message.NewPrinter(language.English))
}
