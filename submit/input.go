package submit

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/flowship/flowship/launch"
)

// anything stands in parameters for a value that is not known yet, and fits.
type anything struct{}

// sample stands for a value of the type that is not known yet.
type sample struct {
	typ   reflect.Type
	value any // of this shape
}

// checkInputType: a flow's parameters are the members of a JSON object.
func checkInputType(t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case decodesItself(t), t.Kind() == reflect.Struct, t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		return nil
	case t.Kind() == reflect.Interface && t.NumMethod() == 0:
		return nil
	}
	return &InvalidError{fmt.Sprintf("its input is of type %v: it must be a struct, or a map with string keys", t)}
}

// decodeParameters fits a JSON object to a flow's input, to which in points.
func decodeParameters(parameters json.RawMessage, in any) error {
	if err := checkParameters(parameters, reflect.TypeOf(in).Elem()); err != nil {
		return err
	}
	if err := json.Unmarshal(parameters, in); err != nil {
		return &InvalidError{fmt.Sprintf("the parameters do not fit: %v", err)}
	}
	return nil
}

// checkParameters says in an *InvalidError all that keeps a JSON object from being the input.
func checkParameters(parameters json.RawMessage, t reflect.Type) error {
	var value any
	if err := decodeJSON(parameters, &value); err != nil {
		return &InvalidError{fmt.Sprintf("the parameters are not JSON: %v", err)}
	}
	object, ok := value.(map[string]any)
	if !ok {
		return &InvalidError{"the parameters are not a JSON object"}
	}
	return fitParameters(object, t)
}

// fitParameters is checkParameters for what was decoded, numbers as [json.Number].
func fitParameters(object map[string]any, t reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var misfits misfits
	if decodesItself(t) || t.Kind() != reflect.Struct {
		misfits.fit(object, t, "")
	} else {
		fields := fieldsOf(t)
		misfits.members(object, fields, "")
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if _, ok := object[name]; !ok && !fields[name].optional {
				misfits.texts = append(misfits.texts, fmt.Sprintf("missing parameter %q", name))
			}
		}
	}
	if len(misfits.texts) > 0 {
		return &InvalidError{strings.Join(misfits.texts, "; ")}
	}
	return nil
}

// misfits are what keeps parameters from fitting, in words.
type misfits struct {
	texts []string
	shape bool // the values are examples: only their shape counts
}

// fit compares a decoded value with the type that it is meant for. encoding/json would tell of
// the first difference only, and of none for null.
func (m *misfits) fit(value any, t reflect.Type, where string) {
	switch v := value.(type) {
	case anything:
		return
	case sample:
		m.fitSample(v, t, where)
		return
	}
	fits := false
	switch {
	case decodesItself(t), t == reflect.TypeFor[json.Number]():
		fits = m.shape || decodes(value, t)
	case t.Kind() == reflect.Pointer:
		if value != nil {
			m.fit(value, t.Elem(), where)
		}
		return
	case value == nil:
		fits = m.shape || slices.Contains([]reflect.Kind{reflect.Interface, reflect.Slice, reflect.Map}, t.Kind())
	default:
		switch v := value.(type) {
		case bool:
			fits = t.Kind() == reflect.Bool
		case string:
			fits = t.Kind() == reflect.String || isBytes(t) && isBase64(v)
		case json.Number:
			fits = numberFits(v, t)
		case []any:
			if fits = t.Kind() == reflect.Slice || t.Kind() == reflect.Array && t.Len() == len(v); fits {
				for i, e := range v {
					m.fit(e, t.Elem(), fmt.Sprintf("%s[%d]", where, i))
				}
			}
		case map[string]any:
			fits = m.object(v, t, where)
		}
		fits = fits || t.Kind() == reflect.Interface && t.NumMethod() == 0
	}
	if !fits {
		m.texts = append(m.texts, fmt.Sprintf("parameter %q: want %s, got %s", where, typeName(t), shownJSON(value)))
	}
}

func (m *misfits) fitSample(s sample, t reflect.Type, where string) {
	if s.typ == t || t.Kind() == reflect.Pointer && s.typ == t.Elem() {
		return
	}
	inner := misfits{shape: true}
	if inner.fit(s.value, t, where); len(inner.texts) > 0 {
		m.texts = append(m.texts, fmt.Sprintf("parameter %q: want %s, got a flow run that results in %s", where, typeName(t), typeName(s.typ)))
	}
}

// object fits a JSON object, and reports whether the type is one for objects.
func (m *misfits) object(v map[string]any, t reflect.Type, where string) bool {
	switch t.Kind() {
	case reflect.Struct:
		m.members(v, fieldsOf(t), where)
		return true
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return decodes(v, t)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			m.fit(v[name], t.Elem(), within(where, name))
		}
		return true
	}
	return false
}

func (m *misfits) members(v map[string]any, fields map[string]inputField, where string) {
	for _, name := range slices.Sorted(maps.Keys(v)) {
		f, ok := fields[name]
		switch {
		case !ok:
			m.texts = append(m.texts, fmt.Sprintf("unknown parameter %q%s", within(where, name), didYouMean(name, slices.Sorted(maps.Keys(fields)))))
		case !f.quoted: // else decoding tells
			m.fit(v[name], f.typ, within(where, name))
		}
	}
}

func within(where, name string) string {
	if where == "" {
		return name
	}
	return where + "." + name
}

// decodesItself reports whether the type has its own way of reading JSON.
func decodesItself(t reflect.Type) bool {
	if t.Kind() == reflect.Interface {
		return false
	}
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// decodes tries it. What is not known yet cannot be tried.
func decodes(value any, t reflect.Type) bool {
	if holdsAnything(value) {
		return true
	}
	text, err := encodeJSON(value)
	return err == nil && json.Unmarshal(text, reflect.New(t).Interface()) == nil
}

func holdsAnything(value any) bool {
	switch v := value.(type) {
	case anything, sample:
		return true
	case []any:
		return slices.ContainsFunc(v, holdsAnything)
	case map[string]any:
		for _, e := range v {
			if holdsAnything(e) {
				return true
			}
		}
	}
	return false
}

func isBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

func isBase64(s string) bool {
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil
}

func numberFits(n json.Number, t reflect.Type) bool {
	var err error
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		_, err = strconv.ParseInt(n.String(), 10, t.Bits())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		_, err = strconv.ParseUint(n.String(), 10, t.Bits())
	case reflect.Float32, reflect.Float64:
		_, err = strconv.ParseFloat(n.String(), t.Bits())
	default:
		return false
	}
	return err == nil
}

func typeName(t reflect.Type) string {
	if t.Kind() == reflect.Struct && t.Name() == "" {
		return "object"
	}
	return t.String()
}

// shownJSON is a value in a message.
func shownJSON(value any) string {
	if holdsAnything(value) {
		return "an object or a list"
	}
	text, err := encodeJSON(value)
	if err != nil {
		return "something else"
	}
	if runes := []rune(string(text)); len(runes) > 60 {
		return string(runes[:60]) + "..."
	}
	return string(text)
}

// didYouMean proposes the name that may have been meant.
func didYouMean(name string, names []string) string {
	if near := launch.Nearest(name, slices.Values(names)); near != "" {
		return fmt.Sprintf(", did you mean %q?", near)
	}
	return ""
}

// encodeJSON leaves characters as they are, and ends without a line break.
func encodeJSON(value any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decodeJSON decodes one value and nothing after it, numbers as [json.Number].
func decodeJSON(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after its end")
	}
	return nil
}

// decodeResult decodes what a flow returned; nothing is a zero value.
func decodeResult(text json.RawMessage, to any) error {
	if len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, to)
}
