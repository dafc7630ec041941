package launch

import (
	"iter"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// placeholder is what Prefect takes for one; its character classes are those of Unicode.
var placeholder = regexp.MustCompile(`\{\{[\s\p{Z}\x1c-\x1f\x85\v]*([\p{L}\p{N}_.\-\[\]$]+)[\s\p{Z}\x1c-\x1f\x85\v]*\}\}`)

// The names of placeholders that begin like this are no variables.
const (
	blockPrefix    = "prefect.blocks."
	variablePrefix = "prefect.variables."
	envPrefix      = "$"
)

// placeholderIn finds the placeholders of a text: what is matched, and the name.
func placeholderIn(s string) [][]int {
	if !strings.Contains(s, "{{") {
		return nil
	}
	return placeholder.FindAllStringSubmatchIndex(s, -1)
}

// placeholders are the names of all in a value, also those in the keys of objects.
func placeholders(v any) iter.Seq[string] {
	return func(yield func(string) bool) {
		for s := range texts(v, true) {
			for _, m := range placeholderIn(s) {
				if !yield(s[m[2]:m[3]]) {
					return
				}
			}
		}
	}
}

// texts are all strings in a value; the keys of objects only if wanted.
func texts(v any, keys bool) iter.Seq[string] {
	return func(yield func(string) bool) { walk(v, keys, yield) }
}

func walk(v any, keys bool, yield func(string) bool) bool {
	switch v := v.(type) {
	case string:
		return yield(v)
	case []any:
		for _, e := range v {
			if !walk(e, keys, yield) {
				return false
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if keys && !yield(key) || !walk(v[key], keys, yield) {
				return false
			}
		}
	}
	return true
}

// unknowable says what in a value only a Prefect server can tell, or "".
func unknowable(v any) string {
	for s := range texts(v, false) {
		for _, m := range placeholderIn(s) {
			name := s[m[2]:m[3]]
			if strings.HasPrefix(name, blockPrefix) || strings.HasPrefix(name, variablePrefix) {
				return name
			}
		}
	}
	if refersToBlock(v) {
		return "a block"
	}
	return ""
}

// refersToBlock looks for {"$ref": {"block_document_id": …}}.
func refersToBlock(v any) bool {
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, refersToBlock)
	case map[string]any:
		if ref, ok := v["$ref"].(map[string]any); ok && ref["block_document_id"] != nil {
			return true
		}
		for _, e := range v {
			if refersToBlock(e) {
				return true
			}
		}
	}
	return false
}

// fill returns a copy of the template with values for its placeholders. It is false when the
// template is a single placeholder without a value.
func fill(template any, values map[string]any) (any, bool) {
	switch t := template.(type) {
	case string:
		return fillText(t, values)
	case []any:
		filled := make([]any, 0, len(t))
		for _, e := range t {
			if v, ok := fill(e, values); ok {
				filled = append(filled, v)
			}
		}
		return filled, true
	case map[string]any:
		filled := make(map[string]any, len(t))
		for key, e := range t {
			if v, ok := fill(e, values); ok {
				filled[key] = v
			}
		}
		return filled, true
	}
	return template, true
}

// Fill puts values in place of the placeholders of a text, as Prefect does in the name of a job: what
// has no value is left out.
func Fill(text string, values map[string]any) string {
	filled, ok := fillText(text, values)
	if !ok || filled == nil {
		return ""
	}
	return PythonText(filled)
}

func fillText(template string, values map[string]any) (any, bool) {
	matches := placeholderIn(template)
	if len(matches) == 1 && matches[0][0] == 0 && matches[0][1] == len(template) {
		if name := template[matches[0][2]:matches[0][3]]; isVariable(name) {
			v, ok := lookup(values, name)
			return clone(v), ok
		}
	}
	var filled strings.Builder
	end := 0
	for _, m := range matches {
		name := template[m[2]:m[3]]
		filled.WriteString(template[end:m[0]])
		end = m[1]
		switch {
		case isVariable(name):
			if v, ok := lookup(values, name); ok {
				filled.WriteString(PythonText(v))
			}
		case strings.HasPrefix(name, envPrefix):
			filled.WriteString(os.Getenv(strings.TrimLeft(name, envPrefix)))
		default:
			filled.WriteString(template[m[0]:m[1]])
		}
	}
	filled.WriteString(template[end:])
	return filled.String(), true
}

// clone copies a value, so that whoever gets the configuration may change it.
func clone(v any) any {
	switch v := v.(type) {
	case []any:
		c := make([]any, len(v))
		for i, e := range v {
			c[i] = clone(e)
		}
		return c
	case map[string]any:
		c := make(map[string]any, len(v))
		for key, e := range v {
			c[key] = clone(e)
		}
		return c
	}
	return v
}

func isVariable(name string) bool {
	return !strings.HasPrefix(name, blockPrefix) && !strings.HasPrefix(name, variablePrefix) && !strings.HasPrefix(name, envPrefix)
}

// path splits "a.b[0]" into its three steps.
func path(name string) []string {
	return strings.Split(strings.ReplaceAll(strings.ReplaceAll(name, "[", "."), "]", ""), ".")
}

// lookup follows a path into a value. What looks like a number is the index of an element, or of a
// character of a text, from the end if it is negative, and never the key of an object.
func lookup(v any, name string) (any, bool) {
	for _, key := range path(name) {
		i, err := strconv.Atoi(key)
		switch at := v.(type) {
		case map[string]any:
			var ok bool
			if v, ok = at[key]; !ok || err == nil {
				return nil, false
			}
		case []any:
			if i < 0 {
				i += len(at)
			}
			if err != nil || i < 0 || i >= len(at) {
				return nil, false
			}
			v = at[i]
		case string:
			characters := []rune(at)
			if i < 0 {
				i += len(characters)
			}
			if err != nil || i < 0 || i >= len(characters) {
				return nil, false
			}
			v = string(characters[i])
		default:
			return nil, false
		}
	}
	return v, true
}
