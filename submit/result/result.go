// Package result reads what a flow returned, as Prefect stores it, and writes it so that Prefect
// can read it.
//
// The state of a flow run that has ended has data. They are the result itself, as JSON, or they
// are its metadata: under which key of which block the result is, and how it was serialized.
//
//	m, ok := result.ParseMetadata(data)  // not ok: data is the result
//	payload := …                         // the object at m.StorageKey
//	value, err := result.Decode(payload, m)
//
// Results are JSON or pickles, compressed or not. A pickle is a program; Decode runs none. It
// reads those of plain values, which become JSON, and those of exceptions, of which it tells the
// type and the message. Of any other, a [*NotPlainError] says what Python would have built.
// Whatever Decode cannot read, the bytes are there for those who can: [Value.Raw].
//
// # What becomes of Python's values
//
//	None, bool, int, float, str     the same in JSON; an integer may have any number of digits
//	list, tuple                     an array
//	dict                            an object; keys that are numbers, True, False or None become text
//	set, bytes                      {"__class__": "builtins.set", "data": …}, as Prefect's own JSON has them
//	NaN, Infinity                   none: ErrNotJSON
//
// # Two forms
//
// What is stored for the result of a flow is the payload alone. Tasks, older versions and
// [Encode] store a document that holds the payload and its metadata. Prefect takes any object with
// a member "result" or "data" for such a document, even if that is what a flow returned as JSON.
// Decode believes the metadata first: a result that is said to be JSON is a document only if it
// says its serializer.
//
// The package knows bytes; it fetches nothing.
package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// MaxSize is the number of bytes that a result may have after each step of decoding it.
const MaxSize = 64 << 20

// MaxStored is the number of bytes that the stored object of such a result may have: base64 in
// a document of JSON makes it longer.
const MaxStored = MaxSize + MaxSize/2

// ErrNotJSON: the result holds a number that JSON does not have.
var ErrNotJSON = errors.New("it holds NaN or Infinity, which JSON does not have")

// Value is what a flow returned or raised.
type Value struct {
	// JSON is the value that the flow returned; nil if it raised an exception, and where there is
	// an error.
	JSON json.RawMessage
	// Exception is the exception that the flow raised, or returned.
	Exception *Exception
	// Raw is what the serializer wrote: the JSON text or the pickle, as far as base64 and
	// compression around it could be undone.
	Raw []byte
}

// Exception is a Python exception.
type Exception struct {
	Type    string // "builtins.ValueError"
	Message string // str() of the exception, as far as its arguments tell it
}

// Error is the last line of Python's traceback.
func (e *Exception) Error() string {
	name := strings.TrimPrefix(e.Type, "builtins.")
	if e.Message == "" {
		return name
	}
	return name + ": " + e.Message
}

// NotPlainError says that a result is, or holds, a value that only Python could build.
type NotPlainError struct {
	// Global is what Python would have to import for it: the class of the value, or a function
	// that makes it; "flow.Point".
	Global string

	exception *Exception
}

func (e *NotPlainError) Error() string {
	if e.Global == "" {
		return "result: not a plain value: only Python could build it"
	}
	return fmt.Sprintf("result: not a plain value: only Python could build %q", e.Global)
}

// Exception is what the result is if it is known to be an exception, as that of a run that failed
// is: a pickle does not say so of classes that it only names. It is nil where the result is
// something else.
func (e *NotPlainError) Exception() *Exception { return e.exception }

// Decode returns the value in a stored object. The metadata are those of the state; nil stands for
// Prefect's default, a pickle. Errors are a [*NotPlainError], ErrNotJSON, or say that the object is
// damaged, too large, or of a serializer that is not known here. The value is never nil, and has
// its bytes beside every error.
func Decode(payload []byte, m *Metadata) (*Value, error) {
	v := &Value{Raw: payload}
	if len(payload) > MaxStored {
		return v, fmt.Errorf("result: it has %d bytes, more than %d", len(payload), MaxStored)
	}
	var s *Serializer
	if m != nil {
		s = m.Serializer
	}
	doc, isDocument := readDocument(payload, s)
	if !isDocument {
		return v, v.decode(payload, s, 0)
	}
	v.Raw = doc.result
	if !doc.serialized {
		v.JSON = doc.result
		return v, nil
	}
	return v, v.decode(doc.result, doc.serializer, 0)
}

// maxNested is the number of serializers inside each other.
const maxNested = 4

func (v *Value) decode(payload []byte, s *Serializer, depth int) error {
	v.Raw = payload
	switch kind := s.kind(); kind {
	case "json":
		if len(payload) > MaxSize {
			return fmt.Errorf("result: it has %d bytes, more than %d", len(payload), MaxSize)
		}
		return v.fromJSON(payload, s)
	case "pickle":
		data, err := unwrap(payload)
		if err != nil {
			return fmt.Errorf("result: the pickle is damaged: %w", err)
		}
		v.Raw = data
		return v.fromPickle(data)
	case "compressed", "compressed/json", "compressed/pickle":
		if depth == maxNested {
			return fmt.Errorf("result: more than %d serializers inside each other", maxNested)
		}
		packed, err := unwrap(payload)
		if err != nil {
			return fmt.Errorf("result: the compressed result is damaged: %w", err)
		}
		v.Raw = packed
		inner, err := expand(packed, s.compression())
		if err != nil {
			return fmt.Errorf("result: %w", err)
		}
		return v.decode(inner, s.inner(), depth+1)
	default:
		return fmt.Errorf("result: the serializer %q is not known here", kind)
	}
}
