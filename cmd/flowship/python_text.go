package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Prefect's command line shows options as Python writes them. These functions do so for JSON.

// pythonMember is a member of an object.
type pythonMember struct{ name, value string }

// pythonMembers are the members of an object in their order, as Python's str shows them.
// What is no object has none.
func pythonMembers(object json.RawMessage) []pythonMember {
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	var list []pythonMember
	for dec.More() {
		name, err := dec.Token()
		var value any
		if err != nil || dec.Decode(&value) != nil {
			return list
		}
		text, ok := value.(string)
		if !ok {
			text = pythonRepr(value)
		}
		list = append(list, pythonMember{fmt.Sprint(name), text})
	}
	return list
}

func pythonRepr(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return map[bool]string{true: "True", false: "False"}[v]
	case string:
		return pythonString(v)
	case []any:
		items := make([]string, len(v))
		for i := range v {
			items[i] = pythonRepr(v[i])
		}
		return "[" + strings.Join(items, ", ") + "]"
	case json.Number:
		return v.String()
	}
	line, err := jsonLine(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(line)
}

// pythonString quotes as Python's repr: with double quotes only where that saves escapes.
func pythonString(s string) string {
	quote := '\''
	if strings.ContainsRune(s, '\'') && !strings.ContainsRune(s, '"') {
		quote = '"'
	}
	var b strings.Builder
	b.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			escaped := strconv.QuoteRune(r)
			b.WriteString(escaped[1 : len(escaped)-1])
		}
	}
	b.WriteRune(quote)
	return b.String()
}
