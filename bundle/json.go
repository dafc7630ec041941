package bundle

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// objectWriter writes JSON member by member, so that a document with many files is never held
// as text. Its layout is that of Python's encoder: ", " and ": ", no line breaks.
type objectWriter struct {
	w     *bufio.Writer
	buf   bytes.Buffer
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
	e.buf.Reset()
	if e.err = encode(&e.buf, v); e.err == nil {
		_, e.err = e.w.Write(e.buf.Bytes())
	}
}

// encode writes v as JSON without the escapes that encoding/json makes for HTML's sake: text
// that was JSON already stays as it is, but for blanks.
func encode(buf *bytes.Buffer, v any) error {
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	buf.Truncate(buf.Len() - 1) // the line break
	return nil
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

// decodeOptional is decodeObject for a member that may be null.
func decodeOptional(dec *json.Decoder, member func(dec *json.Decoder, key string) error) (null bool, err error) {
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil || string(raw) == "null" {
		return true, err
	}
	own := json.NewDecoder(bytes.NewReader(raw))
	return false, decodeObject(own, func(key string) error { return member(own, key) })
}

// decode reads a value that must not be null, which encoding/json would pass over.
func decode[T any](dec *json.Decoder, into *T) error {
	var value *T
	if err := dec.Decode(&value); err != nil {
		return err
	}
	if value == nil {
		return errors.New("is null")
	}
	*into = *value
	return nil
}

// decodeStrings reads a list of strings.
func decodeStrings(dec *json.Decoder, into *[]string) error {
	var list []*string
	if err := decode(dec, &list); err != nil {
		return err
	}
	*into = make([]string, 0, len(list))
	for _, s := range list {
		if s == nil {
			return errors.New("holds null")
		}
		*into = append(*into, *s)
	}
	return nil
}

func skipValue(dec *json.Decoder) error {
	var v json.RawMessage
	return dec.Decode(&v)
}
