package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/flowship/flowship/launch"
)

// Prefect's command line shows options as Python writes them.

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
		list = append(list, pythonMember{fmt.Sprint(name), launch.PythonText(value)})
	}
	return list
}
