package result

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/flowship/flowship/bundle/pickle"
)

// writer writes plain values as JSON.
type writer struct {
	strings.Builder
	err error
}

func (w *writer) add(s string) {
	if w.Len()+len(s) > MaxSize && w.err == nil {
		w.err = fmt.Errorf("result: it has more than %d bytes as JSON", MaxSize)
	}
	if w.err == nil {
		w.WriteString(s)
	}
}

func (w *writer) value(v any) {
	if w.err != nil {
		return
	}
	switch v := v.(type) {
	case nil:
		w.add("null")
	case bool:
		w.add(strconv.FormatBool(v))
	case int64:
		w.add(strconv.FormatInt(v, 10))
	case *big.Int:
		w.add(v.String())
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			w.err = errNotJSON()
			return
		}
		w.add(float(v))
	case string:
		w.text(v)
	case []any:
		w.list(v)
	case pickle.Tuple:
		w.list(v)
	case map[any]any:
		w.object(v)
	case pickle.Set:
		w.add(`{"__class__": "builtins.set", "data": `)
		w.list(sorted(v))
		w.add("}")
	case []byte:
		if !utf8.Valid(v) {
			w.err = &NotPlainError{Global: "builtins.bytes"}
			return
		}
		w.add(`{"__class__": "builtins.bytes", "data": `)
		w.text(string(v))
		w.add("}")
	default:
		w.err = fmt.Errorf("result: a value of type %T has no form in JSON", v)
	}
}

func (w *writer) text(s string) {
	b, err := marshal(s)
	if err != nil {
		w.err = fmt.Errorf("result: %w", err)
		return
	}
	w.add(string(b))
}

func (w *writer) list(items []any) {
	w.add("[")
	for i, e := range items {
		if i > 0 {
			w.add(", ")
		}
		w.value(e)
	}
	w.add("]")
}

// object writes the members in the order of their names: the order of Python's is lost.
func (w *writer) object(members map[any]any) {
	names := map[string]any{} // to the key of Python
	for k := range members {
		name, err := keyName(k)
		if err != nil {
			w.err = err
			return
		}
		names[name] = k
	}
	w.add("{")
	for i, name := range slices.Sorted(maps.Keys(names)) {
		if i > 0 {
			w.add(", ")
		}
		w.text(name)
		w.add(": ")
		w.value(members[names[name]])
	}
	w.add("}")
}

// keyName is what Python's JSON makes of a key.
func keyName(k any) (string, error) {
	switch k := k.(type) {
	case nil:
		return "null", nil
	case bool:
		return strconv.FormatBool(k), nil
	case int64:
		return strconv.FormatInt(k, 10), nil
	case float64:
		if math.IsInf(k, 0) {
			return "", errNotJSON()
		}
		return float(k), nil
	case string:
		return k, nil
	}
	return "", fmt.Errorf("result: a key of type %T has no form in JSON", k)
}

// sorted are the elements of a set, by type and then by value.
func sorted(set pickle.Set) []any {
	type rank struct {
		kind   int
		number float64
		n      int64
		text   string
	}
	of := func(v any) (r rank) {
		switch v := v.(type) {
		case bool:
			r.kind = 1
			if v {
				r.n = 1
			}
		case int64:
			r = rank{kind: 2, number: float64(v), n: v}
		case float64:
			r = rank{kind: 2, number: v}
		case string:
			r = rank{kind: 3, text: v}
		}
		return r
	}
	return slices.SortedFunc(maps.Keys(set), func(a, b any) int {
		x, y := of(a), of(b)
		return cmp.Or(cmp.Compare(x.kind, y.kind), cmp.Compare(x.number, y.number), cmp.Compare(x.n, y.n), cmp.Compare(x.text, y.text))
	})
}

// float writes a number as Python does, which keeps 1.0 apart from 1.
func float(f float64) string {
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
