package bundle

import (
	"bufio"
	"encoding/json"
	"fmt"
)

// objectWriter writes JSON member by member, so that a document with many files is never held
// as text. Its layout is that of Python's encoder: ", " and ": ", no line breaks.
type objectWriter struct {
	w     *bufio.Writer
	first bool
	err   error
}

func (e *objectWriter) begin() { e.raw("{"); e.first = true }
func (e *objectWriter) end()   { e.raw("}"); e.first = false }

func (e *objectWriter) raw(s string) {
	if e.err == nil {
		_, e.err = e.w.WriteString(s)
	}
}

func (e *objectWriter) key(name string) {
	if !e.first {
		e.raw(", ")
	}
	e.first = false
	e.value(name)
	e.raw(": ")
}

func (e *objectWriter) member(name string, v any) { e.key(name); e.value(v) }

func (e *objectWriter) value(v any) {
	if e.err != nil {
		return
	}
	text, err := json.Marshal(v)
	if err != nil {
		e.err = err
		return
	}
	_, e.err = e.w.Write(text)
}

// decodeObject calls member for each key of the next JSON object, exactly as spelled:
// encoding/json's struct fields would match "Files_Key" too, where Python's reader does not.
// member must consume the value.
func decodeObject(dec *json.Decoder, member func(key string) error) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return fmt.Errorf("not a JSON object")
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		key := t.(string) // the decoder allows nothing else here
		if err := member(key); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	_, err = dec.Token()
	return err
}

func skipValue(dec *json.Decoder) error {
	var v json.RawMessage
	return dec.Decode(&v)
}
