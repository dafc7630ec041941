package pickle

import (
	"errors"
	"fmt"
	"slices"
)

// builtin stands for one of the few globals with which old protocols spell plain values.
type builtin struct {
	name    string
	meaning meaning
	offset  int // of the instruction that named it
}

type meaning byte

const (
	latin1Bytes meaning = iota + 1
	someBytes
	someSet
)

// meanings of the globals that Decode knows. Protocols below 3 write bytes as _codecs.encode(text, "latin1"), below 4 sets, below 5
// byte arrays as calls of their types; protocols below 3 have the names of Python 2.
var meanings = map[string]meaning{
	"_codecs.encode":        latin1Bytes,
	"builtins.bytes":        someBytes,
	"__builtin__.bytes":     someBytes,
	"builtins.bytearray":    someBytes,
	"__builtin__.bytearray": someBytes,
	"builtins.set":          someSet,
	"__builtin__.set":       someSet,
	"builtins.frozenset":    someSet,
	"__builtin__.frozenset": someSet,
}

// call gives the value that f(args...) has in Python.
func (m *machine) call(f builtin, args []any) (any, error) {
	switch {
	case f.meaning == latin1Bytes && len(args) == 2 && args[1] == "latin1":
		if s, ok := args[0].(string); ok {
			b, err := latin1(s)
			return b, errors.Join(err, m.copied(len(s)))
		}
	case f.meaning == someBytes && len(args) == 0:
		return []byte{}, nil
	case f.meaning == someBytes && len(args) == 1:
		if b, ok := args[0].([]byte); ok {
			return b, nil
		}
	case f.meaning == someSet && len(args) == 0:
		return &container{kind: aSet}, nil
	case f.meaning == someSet && len(args) == 1:
		if l, ok := args[0].(*container); ok && l.kind == aList {
			return &container{kind: aSet, items: slices.Clone(l.items)}, m.copied(len(l.items))
		}
	}
	return nil, m.unsafe("REDUCE", f.name)
}

// copied counts what calls have copied. Honest pickles copy each value once, so never more than there are bytes; without a limit, the
// same long text could be named again and again in a few bytes.
func (m *machine) copied(n int) error {
	if m.copies += n; m.copies > len(m.data) {
		return errors.New("copies the same values again and again")
	}
	return nil
}

// latin1 turns a text of characters up to U+00FF into the bytes that they number.
func latin1(s string) ([]byte, error) {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return nil, fmt.Errorf("character %q stands for no byte", r)
		}
		b = append(b, byte(r))
	}
	return b, nil
}
