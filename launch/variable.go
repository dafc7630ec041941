package launch

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// Variable is a job variable that a template has, for people to read.
type Variable struct {
	Name string
	// Type is what its value may be, in words: "string", "list of string", "object of string",
	// `"Always" or "Never"`, "block of type docker-registry-credentials", "any". That every value
	// may be null, which is none, goes without saying.
	Type string
	// Default is JSON; nil without one.
	Default json.RawMessage
	// Required says that there has to be a value, given or by default.
	Required bool
	// Title and Description are those of the schema, or "".
	Title, Description string
}

// Variables returns the job variables of the template, in its order.
func (t *Template) Variables() []Variable {
	// Names are case-sensitive, which members of a struct would not be.
	var source, variables map[string]json.RawMessage
	decoded, err := decode(t.source)
	if err != nil || json.Unmarshal(t.source, &source) != nil || json.Unmarshal(source["variables"], &variables) != nil {
		return nil // only of an empty template: the others were parsed
	}
	object, _ := decoded.(map[string]any)
	w := wording{budget: maxWords, within: map[string]bool{}}
	w.root, _ = object["variables"].(map[string]any)
	var all []Variable
	for _, name := range memberNames(variables["properties"]) {
		property, _ := t.variables.properties[name].(map[string]any)
		v := Variable{Name: name, Type: w.schema(property), Required: t.variables.required[name]}
		v.Title, _ = property["title"].(string)
		v.Description, _ = property["description"].(string)
		if value, ok := t.defaults[name]; ok {
			v.Default, _ = json.Marshal(value) // it came from JSON
		}
		all = append(all, v)
	}
	return all
}

// memberNames are the names of an object's members in their order, each once.
func memberNames(object json.RawMessage) []string {
	d := json.NewDecoder(bytes.NewReader(object))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil
	}
	var names []string
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return names
		}
		if name, ok := token.(string); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return names
		}
	}
	return names
}

// maxWords is how many schemas are looked into: they may refer to each other in many ways.
const maxWords = 1000

// wording says in words what the schemas of a template allow.
type wording struct {
	root   map[string]any // where references begin
	budget int
	within map[string]bool // references that are being followed
}

func (w *wording) schema(of map[string]any) string {
	if w.budget--; w.budget < 0 {
		return "any"
	}
	if ref, ok := of["$ref"].(string); ok {
		target := w.definition(ref)
		if slug, ok := target["block_type_slug"].(string); ok {
			return "block of type " + slug
		}
		if w.within[ref] {
			return "any"
		}
		w.within[ref] = true
		defer delete(w.within, ref)
		return w.schema(target)
	}
	if values, ok := of["enum"].([]any); ok {
		return alternatives(values, func(v any) string { text, _ := json.Marshal(v); return string(text) })
	}
	for _, several := range []string{"anyOf", "oneOf", "allOf"} {
		if parts, ok := of[several].([]any); ok {
			return alternatives(parts, func(v any) string { part, _ := v.(map[string]any); return w.schema(part) })
		}
	}
	switch kind := of["type"].(type) {
	case []any:
		return alternatives(kind, func(v any) string { name, _ := v.(string); return w.kind(of, name) })
	case string:
		return w.kind(of, kind)
	}
	return "any"
}

func (w *wording) kind(of map[string]any, name string) string {
	key := map[string]string{"array": "items", "object": "additionalProperties"}[name]
	inner, ok := of[key].(map[string]any)
	if name == "array" {
		name = "list"
	}
	if ok {
		name += " of " + w.schema(inner)
	}
	return name
}

// definition is what a reference within the template leads to; nil for others.
func (w *wording) definition(ref string) map[string]any {
	for _, part := range []string{"definitions", "$defs"} {
		if name, ok := strings.CutPrefix(ref, "#/"+part+"/"); ok {
			definitions, _ := w.root[part].(map[string]any)
			target, _ := definitions[name].(map[string]any)
			return target
		}
	}
	return nil
}

// alternatives are words for one of several things, without null.
func alternatives(of []any, words func(any) string) string {
	var all []string
	for _, v := range of {
		if text := words(v); text != "" && text != "null" && !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	if len(all) == 0 {
		return "any"
	}
	last := len(all) - 1
	if last == 0 {
		return all[0]
	}
	return strings.Join(all[:last], ", ") + " or " + all[last]
}
