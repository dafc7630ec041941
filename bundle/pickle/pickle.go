// Package pickle writes the few Python pickles that a Prefect bundle needs and reads pickled plain values without running anything.
//
// A bundle document carries two pickles: the flow to call and a context. Neither needs a Python interpreter to be written. The flow is
// a reference, "load this entrypoint when you are unpickled", and the context is an empty dictionary:
//
//	function := pickle.Entrypoint("flows/etl.py:main")
//	function, err := pickle.WithOptions(function, map[string]any{"persist_result": true, "result_serializer": "json"})
//	context := pickle.EmptyDict()
//
// Unpickled in a directory that holds flows/etl.py, function yields the flow that this file defines, with those options applied. The
// bytes are protocol 4 and depend on nothing but the arguments, so equal inputs give equal documents.
//
// [Decode] reads what others pickled, results of flow runs above all. A pickle is a program for a small stack machine whose
// instructions may import and call anything; Decode carries out only the instructions that put plain values together and answers
// every other one with an [*UnsafeError] that names what would have been imported or called. It promises to return on any input,
// without a panic, in memory proportional to the input. [DecodeObjects] promises the same, and shows what the pickle would have built.
//
// # Why by hand
//
// kisielk/og-rek was judged first. Its decoder is safe on hostile bytes: it executes nothing and grows buffers only as bytes arrive. But
// a list that occurs twice is empty in one of the places ("(]q\x00K\x01ah\x00t." gives ([1], [])), sets and the 8-byte lengths of
// protocol 4 are unknown to it, it has no limit on sharing, hands calls on for its user to refuse, and its encoder writes neither NEWOBJ_EX
// nor keyword arguments; it brings two modules for hashing along. The part that is needed here is short.
//
// The instructions are those of Python's pickle module and are documented in its pickletools.
package pickle

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
)

// Instructions of the pickle machine, by the names of Python's pickletools.
const (
	opMark           = '('
	opStop           = '.'
	opPop            = '0'
	opPopMark        = '1'
	opDup            = '2'
	opFloat          = 'F'
	opInt            = 'I'
	opBinInt         = 'J'
	opBinInt1        = 'K'
	opLong           = 'L'
	opBinInt2        = 'M'
	opNone           = 'N'
	opPersID         = 'P'
	opBinPersID      = 'Q'
	opReduce         = 'R'
	opString         = 'S'
	opBinString      = 'T'
	opShortBinString = 'U'
	opUnicode        = 'V'
	opBinUnicode     = 'X'
	opAppend         = 'a'
	opBuild          = 'b'
	opGlobal         = 'c'
	opDict           = 'd'
	opAppends        = 'e'
	opGet            = 'g'
	opBinGet         = 'h'
	opInst           = 'i'
	opLongBinGet     = 'j'
	opList           = 'l'
	opObj            = 'o'
	opPut            = 'p'
	opBinPut         = 'q'
	opLongBinPut     = 'r'
	opSetItem        = 's'
	opTuple          = 't'
	opSetItems       = 'u'
	opEmptyDict      = '}'
	opEmptyList      = ']'
	opEmptyTuple     = ')'
	opBinFloat       = 'G'

	opBinBytes        = 'B'
	opShortBinBytes   = 'C'
	opProto           = 0x80
	opNewObj          = 0x81
	opExt1            = 0x82
	opExt2            = 0x83
	opExt4            = 0x84
	opTuple1          = 0x85
	opTuple2          = 0x86
	opTuple3          = 0x87
	opNewTrue         = 0x88
	opNewFalse        = 0x89
	opLong1           = 0x8a
	opLong4           = 0x8b
	opShortBinUnicode = 0x8c
	opBinUnicode8     = 0x8d
	opBinBytes8       = 0x8e
	opEmptySet        = 0x8f
	opAddItems        = 0x90
	opFrozenSet       = 0x91
	opNewObjEx        = 0x92
	opStackGlobal     = 0x93
	opMemoize         = 0x94
	opFrame           = 0x95
	opByteArray8      = 0x96
)

// protocol is written by everything here: the newest one that every Python since 3.4 reads.
const protocol = 4

// Entrypoint returns the pickle of the flow that entrypoint names, "flows/etl.py:main" or "package.module:main". Unpickling imports the
// file or module, relative to the working directory, and raises the file's own error where that fails. The entrypoint must be valid
// UTF-8.
//
// It is a call of prefect.flows.load_flow_from_entrypoint(entrypoint, False); the second argument keeps Prefect from putting a
// placeholder in the place of a flow that cannot be imported.
func Entrypoint(entrypoint string) []byte {
	b := appendGlobal(header(), "prefect.flows", "load_flow_from_entrypoint")
	b = appendString(b, entrypoint)
	return append(b, opNewFalse, opTuple2, opReduce, opStop)
}

// WithOptions returns the pickle of flow.with_options(**options), where flow is a pickle by [Entrypoint] or WithOptions. Options are
// those of Prefect's Flow.with_options, written in the order of their names; a value is nil, a bool, an integer, a float, a string, or a
// []any or map[string]any of such values.
//
// It is a call of operator.methodcaller("with_options", **options) on the flow.
func WithOptions(flow []byte, options map[string]any) ([]byte, error) {
	// A frame, which Python's own pickler writes there, counts bytes and cannot be embedded.
	n := len(flow)
	if n < 4 || flow[0] != opProto || flow[1] != protocol || flow[2] == opFrame || flow[n-1] != opStop {
		return nil, fmt.Errorf("pickle: flow is not a pickle of this package")
	}
	b := appendGlobal(header(), "operator", "methodcaller")
	b = append(appendString(b, "with_options"), opTuple1)
	b, err := appendValue(b, options, 0)
	if err != nil {
		return nil, fmt.Errorf("pickle: options of the flow: %w", err)
	}
	b = append(b, opNewObjEx)
	b = append(b, flow[2:n-1]...)
	return append(b, opTuple1, opReduce, opStop), nil
}

// EmptyDict returns the pickle of {}: the context of a bundle that takes no settings of the submitter along.
func EmptyDict() []byte {
	return append(header(), opEmptyDict, opStop)
}

// None returns the pickle of None.
func None() []byte {
	return append(header(), opNone, opStop)
}

func header() []byte {
	return []byte{opProto, protocol}
}

func appendGlobal(b []byte, module, name string) []byte {
	return append(appendString(appendString(b, module), name), opStackGlobal)
}

func appendString(b []byte, s string) []byte {
	switch n := len(s); {
	case n <= math.MaxUint8:
		b = append(b, opShortBinUnicode, byte(n))
	case n <= math.MaxUint32:
		b = binary.LittleEndian.AppendUint32(append(b, opBinUnicode), uint32(n))
	default:
		b = binary.LittleEndian.AppendUint64(append(b, opBinUnicode8), uint64(n))
	}
	return append(b, s...)
}

func appendInt(b []byte, i int64) []byte {
	switch {
	case 0 <= i && i <= math.MaxUint8:
		return append(b, opBinInt1, byte(i))
	case math.MinInt32 <= i && i <= math.MaxInt32:
		return binary.LittleEndian.AppendUint32(append(b, opBinInt), uint32(int32(i)))
	}
	return binary.LittleEndian.AppendUint64(append(b, opLong1, 8), uint64(i))
}

func appendValue(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("values nested deeper than %d", maxDepth)
	}
	var err error
	switch v := v.(type) {
	case nil:
		return append(b, opNone), nil
	case bool:
		if v {
			return append(b, opNewTrue), nil
		}
		return append(b, opNewFalse), nil
	case int:
		return appendInt(b, int64(v)), nil
	case int64:
		return appendInt(b, v), nil
	case *big.Int:
		return appendBig(b, v), nil
	case float64:
		return binary.BigEndian.AppendUint64(append(b, opBinFloat), math.Float64bits(v)), nil
	case string:
		return appendString(b, v), nil
	case []any:
		b = append(b, opEmptyList, opMark)
		for _, e := range v {
			if b, err = appendValue(b, e, depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, opAppends), nil
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		b = append(b, opEmptyDict, opMark)
		for _, k := range keys {
			if b, err = appendValue(appendString(b, k), v[k], depth+1); err != nil {
				return nil, fmt.Errorf("%q: %w", k, err)
			}
		}
		return append(b, opSetItems), nil
	}
	return nil, fmt.Errorf("a value of type %T has no plain form in Python", v)
}

// appendBig writes an integer of any size: little-endian two's complement.
func appendBig(b []byte, i *big.Int) []byte {
	if i.IsInt64() {
		return appendInt(b, i.Int64())
	}
	n := i.BitLen()/8 + 1
	twos := i
	if i.Sign() < 0 {
		twos = new(big.Int).Lsh(big.NewInt(1), uint(8*n))
		twos.Add(twos, i)
	}
	p := twos.FillBytes(make([]byte, n))
	slices.Reverse(p)
	if n <= math.MaxUint8 {
		b = append(b, opLong1, byte(n))
	} else {
		b = binary.LittleEndian.AppendUint32(append(b, opLong4), uint32(n))
	}
	return append(b, p...)
}
