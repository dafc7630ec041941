package pickle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of what is read. Python's own pickler gives up at a similar depth; the number of digits is where Python's int() does.
const (
	maxDepth  = 1000
	maxDigits = 4300
	// A pickle may hold one value in many places, and so write down in a few bytes what takes ages to walk. A pickle that shares
	// nothing has fewer values than bytes.
	maxShared = 1 << 20
)

// Tuple is a Python tuple.
type Tuple []any

// Set is a Python set or frozenset.
type Set map[any]struct{}

// UnsafeError says that a pickle is more than plain values.
type UnsafeError struct {
	Global string // what would have been imported, "os.system"; empty where the pickle does not say
	Op     string // the instruction by its name in Python's pickletools, "GLOBAL"
	Offset int    // of the instruction, in bytes
}

func (e *UnsafeError) Error() string {
	if e.Global == "" {
		return fmt.Sprintf("pickle: byte %d: %s builds an object, which only Python could", e.Offset, e.Op)
	}
	return fmt.Sprintf("pickle: byte %d: %s of %q, which only Python could", e.Offset, e.Op, e.Global)
}

// Decode returns the value that a pickle of protocol 0 to 5 holds, without importing or calling anything:
//
//	None       nil
//	bool       bool
//	int        int64, or *big.Int where that is too small
//	float      float64
//	str        string
//	bytes      []byte, also for bytearray
//	list       []any
//	tuple      Tuple
//	dict       map[any]any
//	set        Set, also for frozenset
//
// Keys of a dict and elements of a set are None, bool, int64, float64 or string; others are an error. What appears in several places of
// the pickle is shared by several places of the result. A value that contains itself, values nested more than 1000 deep, and sharing
// that would take more than a million values (or one per byte) to write out are errors, so the result can be walked without a guard.
//
// An [*UnsafeError] is a pickle of something else; any other error is a damaged one.
func Decode(data []byte) (any, error) {
	return decode(data, false)
}

func decode(data []byte, objects bool) (any, error) {
	m := machine{data: data, memo: map[uint64]any{}, objects: objects}
	v, err := m.run()
	if err != nil {
		return nil, describe(err, fmt.Sprintf("byte %d: ", m.at))
	}
	plain := plainer{most: max(maxShared, len(data)), objects: objects}
	p, err := plain.value(v, 0)
	if err != nil {
		return nil, describe(err, "")
	}
	return p.value, nil
}

// describe adds what an [*UnsafeError] says by itself.
func describe(err error, where string) error {
	if unsafe, ok := errors.AsType[*UnsafeError](err); ok {
		return unsafe
	}
	return fmt.Errorf("pickle: %s%w", where, err)
}

var (
	errTruncated = errors.New("ends in the middle")
	errUnderflow = errors.New("takes a value that was never put there")
)

// container is a list, tuple, dict or set under construction. A pickle may refer to it before it is full, hence the pointer.
type container struct {
	kind   kind
	items  []any // of a dict: keys and values in turn; of an object: what is called, and the tuple of arguments
	plain  plain // once turned into a plain value
	state  state
	offset int // of an object
}

type kind byte

const (
	aList kind = iota
	aTuple
	aDict
	aSet
	anObject
)

// machine reads one pickle.
type machine struct {
	data  []byte
	at    int // offset of the instruction
	next  int // offset behind what was read
	stack []any
	marks []int // heights of the stack, innermost last
	memo  map[uint64]any
	// copies is the number of values and bytes that calls have copied.
	copies int
	// objects: what is not plain becomes an Object or a Global.
	objects bool
}

func (m *machine) run() (any, error) {
	for {
		m.at = m.next
		op, err := m.take(1)
		if err != nil {
			return nil, err
		}
		if op[0] == opStop {
			break
		}
		if err := m.step(op[0]); err != nil {
			return nil, err
		}
	}
	v, err := m.pop()
	switch {
	case err != nil:
		return nil, err
	case len(m.stack) > 0 || len(m.marks) > 0:
		return nil, errors.New("ends with several values")
	case m.next < len(m.data):
		return nil, fmt.Errorf("%d bytes follow the end", len(m.data)-m.next)
	}
	return v, nil
}

func (m *machine) unsafe(op, global string) error {
	return &UnsafeError{Global: global, Op: op, Offset: m.at}
}

func (m *machine) take(n uint64) ([]byte, error) {
	if n > uint64(len(m.data)-m.next) {
		return nil, errTruncated
	}
	b := m.data[m.next : m.next+int(n)]
	m.next += int(n)
	return b, nil
}

// number reads a little-endian number of some bytes.
func (m *machine) number(size uint64) (uint64, error) {
	b, err := m.take(size)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:]), nil
}

// counted reads bytes behind their own number, which takes size bytes.
func (m *machine) counted(size uint64) ([]byte, error) {
	n, err := m.number(size)
	if err != nil {
		return nil, err
	}
	return m.take(n)
}

func (m *machine) line() (string, error) {
	i := bytes.IndexByte(m.data[m.next:], '\n')
	if i < 0 {
		return "", errTruncated
	}
	s := string(m.data[m.next : m.next+i])
	m.next += i + 1
	return s, nil
}

func (m *machine) push(v any) error {
	m.stack = append(m.stack, v)
	return nil
}

// floor is the height of the stack below which the innermost mark allows no access.
func (m *machine) floor() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

func (m *machine) top() (any, error) {
	if len(m.stack) <= m.floor() {
		return nil, errUnderflow
	}
	return m.stack[len(m.stack)-1], nil
}

func (m *machine) pop() (any, error) {
	v, err := m.top()
	if err == nil {
		m.stack = m.stack[:len(m.stack)-1]
	}
	return v, err
}

// popN takes the topmost n values, in the order in which they were put there.
func (m *machine) popN(n int) ([]any, error) {
	if len(m.stack)-n < m.floor() {
		return nil, errUnderflow
	}
	return m.cut(len(m.stack) - n), nil
}

// popMark takes everything above the innermost mark, and the mark.
func (m *machine) popMark() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, errors.New("has no mark")
	}
	height := m.floor()
	m.marks = m.marks[:len(m.marks)-1]
	return m.cut(height), nil
}

func (m *machine) cut(height int) []any {
	v := append([]any(nil), m.stack[height:]...)
	clear(m.stack[height:])
	m.stack = m.stack[:height]
	return v
}

// extend adds items to the container on top of the stack.
func (m *machine) extend(k kind, items []any, err error) error {
	if err != nil {
		return err
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	c, ok := v.(*container)
	if ok && c.kind == anObject {
		return nil // which knows by itself what to do with them
	}
	if !ok || c.kind != k {
		return errors.New("adds to something of another type")
	}
	if k == aDict && len(items)%2 != 0 {
		return errors.New("has a key without a value")
	}
	c.items = append(c.items, items...)
	return nil
}

// build puts a new container on the stack.
func (m *machine) build(k kind, items []any, err error) error {
	if err != nil {
		return err
	}
	if k == aDict && len(items)%2 != 0 {
		return errors.New("has a key without a value")
	}
	return m.push(&container{kind: k, items: items})
}

func (m *machine) pushText(b []byte, err error) error {
	if err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return errors.New("has a text that is not valid Unicode")
	}
	return m.push(string(b))
}

func (m *machine) pushBytes(b []byte, err error) error {
	if err != nil {
		return err
	}
	return m.push(bytes.Clone(b))
}

// pushLong puts a little-endian two's complement on the stack.
func (m *machine) pushLong(b []byte, err error) error {
	if err != nil {
		return err
	}
	bigEndian := slices.Clone(b)
	slices.Reverse(bigEndian)
	n := new(big.Int).SetBytes(bigEndian)
	if len(b) > 0 && b[len(b)-1]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	return m.push(integer(n))
}

// integer is n in its smallest type.
func integer(n *big.Int) any {
	if n.IsInt64() {
		return n.Int64()
	}
	return n
}

func decimal(s string) (any, error) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || len(digits) > maxDigits || strings.Trim(digits, "0123456789") != "" {
		return nil, fmt.Errorf("has a malformed integer of %d characters", len(s))
	}
	n, _ := new(big.Int).SetString(s, 10)
	return integer(n), nil
}

// digits reads a number written in digits.
func (m *machine) digits() (uint64, error) {
	s, err := m.line()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("has a malformed number %q", s)
	}
	return n, nil
}

func (m *machine) get(index uint64, err error) error {
	if err != nil {
		return err
	}
	v, ok := m.memo[index]
	if !ok {
		return fmt.Errorf("refers to value %d, which was never kept", index)
	}
	return m.push(v)
}

func (m *machine) put(index uint64, err error) error {
	if err != nil {
		return err
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	m.memo[index] = v
	return nil
}

func parseFloat(s string) (float64, error) {
	if strings.ContainsAny(s, "xX_") {
		return 0, fmt.Errorf("has a malformed float %q", s)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, fmt.Errorf("has a malformed float %q", s)
	}
	return f, nil
}
