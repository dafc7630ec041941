package launch

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
)

// decode reads one JSON document. Numbers keep the form that they have.
func decode(source []byte) (any, error) {
	if !json.Valid(source) { // also refuses what follows the document
		var v any
		if err := json.Unmarshal(source, &v); err != nil {
			return nil, err
		}
	}
	d := json.NewDecoder(bytes.NewReader(source))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// toJSON is the values as JSON has them.
func toJSON(values map[string]any) (map[string]any, error) {
	all := make(map[string]any, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		source, err := json.Marshal(values[name])
		if err != nil {
			return nil, &VariableError{Name: name, Reason: "it cannot be written as JSON"}
		}
		if all[name], err = decode(source); err != nil {
			return nil, &VariableError{Name: name, Reason: err.Error()}
		}
	}
	return all, nil
}

type jsonMember struct {
	name  string
	value json.RawMessage
}

// members are those of a JSON object, in their order.
func members(source []byte) ([]jsonMember, error) {
	d := json.NewDecoder(bytes.NewReader(source))
	if t, err := d.Token(); err != nil {
		return nil, err
	} else if t != json.Delim('{') {
		return nil, errors.New("it is not an object")
	}
	var all []jsonMember
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := jsonMember{name: name.(string)} // the decoder sees to it
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(all, func(o jsonMember) bool { return o.name == m.name }); i >= 0 {
			all[i].value = m.value
			continue
		}
		all = append(all, m)
	}
	_, err := d.Token()
	return all, err
}
