package pickle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// step carries out one instruction.
func (m *machine) step(op byte) error {
	switch op {
	case opProto:
		v, err := m.number(1)
		if err == nil && v > 5 {
			err = fmt.Errorf("has protocol %d, newer than 5", v)
		}
		return err
	case opFrame:
		// Only a hint for readers of streams.
		n, err := m.number(8)
		if err == nil && n > uint64(len(m.data)-m.next) {
			err = errTruncated
		}
		return err

	case opMark:
		m.marks = append(m.marks, len(m.stack))
		return nil
	case opPop:
		// On a mark, POP removes the mark.
		if len(m.marks) > 0 && len(m.stack) == m.floor() {
			m.marks = m.marks[:len(m.marks)-1]
			return nil
		}
		_, err := m.pop()
		return err
	case opPopMark:
		_, err := m.popMark()
		return err
	case opDup:
		v, err := m.top()
		if err != nil {
			return err
		}
		return m.push(v)

	case opGet:
		return m.get(m.digits())
	case opBinGet:
		return m.get(m.number(1))
	case opLongBinGet:
		return m.get(m.number(4))
	case opPut:
		return m.put(m.digits())
	case opBinPut:
		return m.put(m.number(1))
	case opLongBinPut:
		return m.put(m.number(4))
	case opMemoize:
		return m.put(uint64(len(m.memo)), nil)

	case opEmptyList:
		return m.build(aList, nil, nil)
	case opEmptyTuple:
		return m.build(aTuple, nil, nil)
	case opEmptyDict:
		return m.build(aDict, nil, nil)
	case opEmptySet:
		return m.build(aSet, nil, nil)
	case opTuple1, opTuple2, opTuple3:
		items, err := m.popN(int(op-opTuple1) + 1)
		return m.build(aTuple, items, err)
	case opList:
		items, err := m.popMark()
		return m.build(aList, items, err)
	case opTuple:
		items, err := m.popMark()
		return m.build(aTuple, items, err)
	case opDict:
		items, err := m.popMark()
		return m.build(aDict, items, err)
	case opFrozenSet:
		items, err := m.popMark()
		return m.build(aSet, items, err)
	case opAppend:
		items, err := m.popN(1)
		return m.extend(aList, items, err)
	case opAppends:
		items, err := m.popMark()
		return m.extend(aList, items, err)
	case opSetItem:
		items, err := m.popN(2)
		return m.extend(aDict, items, err)
	case opSetItems:
		items, err := m.popMark()
		return m.extend(aDict, items, err)
	case opAddItems:
		items, err := m.popMark()
		return m.extend(aSet, items, err)

	case opGlobal, opInst, opStackGlobal, opReduce, opBuild, opObj, opNewObj, opNewObjEx, opExt1, opExt2, opExt4, opPersID, opBinPersID:
		return m.object(op)
	}
	return m.scalar(op)
}

// scalar carries out the instructions that put one value without parts on the stack.
func (m *machine) scalar(op byte) error {
	switch op {
	case opNone:
		return m.push(nil)
	case opNewTrue:
		return m.push(true)
	case opNewFalse:
		return m.push(false)

	case opBinInt:
		n, err := m.number(4)
		if err != nil {
			return err
		}
		return m.push(int64(int32(n)))
	case opBinInt1, opBinInt2:
		size := uint64(1)
		if op == opBinInt2 {
			size = 2
		}
		n, err := m.number(size)
		if err != nil {
			return err
		}
		return m.push(int64(n))
	case opInt, opLong:
		s, err := m.line()
		if err != nil {
			return err
		}
		// Protocols 0 and 1 have no other way to write the two truth values.
		if op == opInt && (s == "00" || s == "01") {
			return m.push(s == "01")
		}
		n, err := decimal(strings.TrimSuffix(s, "L"))
		if err != nil {
			return err
		}
		return m.push(n)
	case opLong1:
		return m.pushLong(m.counted(1))
	case opLong4:
		return m.pushLong(m.counted(4))

	case opFloat:
		s, err := m.line()
		if err != nil {
			return err
		}
		f, err := parseFloat(s)
		if err != nil {
			return err
		}
		return m.push(f)
	case opBinFloat:
		b, err := m.take(8)
		if err != nil {
			return err
		}
		return m.push(math.Float64frombits(binary.BigEndian.Uint64(b)))

	case opShortBinUnicode:
		return m.pushText(m.counted(1))
	case opBinUnicode:
		return m.pushText(m.counted(4))
	case opBinUnicode8:
		return m.pushText(m.counted(8))
	case opUnicode:
		s, err := m.line()
		if err != nil {
			return err
		}
		return m.pushText(rawUnicodeEscape(s))
	case opString:
		s, err := m.line()
		if err != nil {
			return err
		}
		return m.pushASCII(unquote(s))
	case opShortBinString:
		return m.pushASCII(m.counted(1))
	case opBinString:
		return m.pushASCII(m.counted(4))

	case opShortBinBytes:
		return m.pushBytes(m.counted(1))
	case opBinBytes:
		return m.pushBytes(m.counted(4))
	case opBinBytes8, opByteArray8:
		return m.pushBytes(m.counted(8))
	}
	return fmt.Errorf("has an unknown instruction 0x%02x", op)
}

// object answers the instructions that import, call or build something. The globals that have a meaning, and calls of them, pass.
func (m *machine) object(op byte) error {
	if m.objects && (op == opInst || op == opObj || op == opNewObj || op == opNewObjEx || op == opBuild) {
		return m.opaque(op)
	}
	switch op {
	case opGlobal, opInst:
		module, err := m.line()
		if err != nil {
			return err
		}
		name, err := m.line()
		if err != nil {
			return err
		}
		if op == opInst {
			return m.unsafe("INST", module+"."+name)
		}
		return m.global("GLOBAL", module+"."+name)
	case opStackGlobal:
		v, err := m.popN(2)
		if err != nil {
			return err
		}
		module, ok1 := v[0].(string)
		name, ok2 := v[1].(string)
		if !ok1 || !ok2 {
			return errors.New("names a global by something other than text")
		}
		return m.global("STACK_GLOBAL", module+"."+name)
	case opReduce:
		v, err := m.popN(2)
		if err != nil {
			return err
		}
		f, ok1 := v[0].(builtin)
		args, ok2 := v[1].(*container)
		if !ok1 || !ok2 || args.kind != aTuple {
			if m.objects {
				return m.pushObject(v[0], v[1])
			}
			return m.unsafe("REDUCE", "")
		}
		r, err := m.call(f, args.items)
		if _, ok := errors.AsType[*UnsafeError](err); ok && m.objects {
			return m.pushObject(f, args)
		}
		if err != nil {
			return err
		}
		return m.push(r)
	case opExt1, opExt2, opExt4:
		n, err := m.number(1 << (op - opExt1))
		if err != nil {
			return err
		}
		return m.unsafe("EXT", fmt.Sprintf("extension %d", n))
	}
	return m.unsafe(map[byte]string{opBuild: "BUILD", opObj: "OBJ", opNewObj: "NEWOBJ", opNewObjEx: "NEWOBJ_EX",
		opPersID: "PERSID", opBinPersID: "BINPERSID"}[op], "")
}

func (m *machine) global(op, name string) error {
	meaning, ok := meanings[name]
	if !ok && m.objects {
		return m.push(Global(name))
	}
	if !ok {
		return m.unsafe(op, name)
	}
	return m.push(builtin{name: name, meaning: meaning, offset: m.at})
}

// pushASCII puts a string of Python 2 on the stack; Python 3 reads no other bytes in it.
func (m *machine) pushASCII(b []byte, err error) error {
	if err != nil {
		return err
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return errors.New("has a string of Python 2 that is not ASCII")
		}
	}
	return m.push(string(b))
}

// unquote reads a string as Python 2 shows it: in quotation marks of either kind, with backslash escapes.
func unquote(s string) ([]byte, error) {
	if len(s) < 2 || (s[0] != '\'' && s[0] != '"') || s[len(s)-1] != s[0] {
		return nil, errors.New("has a string without quotes")
	}
	var b []byte
	for s = s[1 : len(s)-1]; s != ""; {
		// The quote 0 lets both quotation marks stand unescaped, and neither be escaped.
		if strings.HasPrefix(s, `\'`) || strings.HasPrefix(s, `\"`) {
			b, s = append(b, s[1]), s[2:]
			continue
		}
		r, wide, rest, err := strconv.UnquoteChar(s, 0)
		if err != nil || wide {
			return nil, errors.New("has a string with a malformed escape")
		}
		b, s = append(b, byte(r)), rest
	}
	return b, nil
}

// rawUnicodeEscape reads the text of protocol 0: Latin-1, with \uXXXX and \UXXXXXXXX for everything else. It returns UTF-8.
func rawUnicodeEscape(s string) ([]byte, error) {
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b = utf8.AppendRune(b, rune(s[i]))
			continue
		}
		i++
		digits := 4
		switch s[i] {
		case 'U':
			digits = 8
		case 'u':
		default:
			b = utf8.AppendRune(append(b, '\\'), rune(s[i]))
			continue
		}
		if i+digits >= len(s) {
			return nil, errors.New("has a text with a malformed escape")
		}
		r, err := strconv.ParseUint(s[i+1:i+1+digits], 16, 32)
		if err != nil || !utf8.ValidRune(rune(r)) {
			return nil, errors.New("has a text with a malformed escape")
		}
		b = utf8.AppendRune(b, rune(r))
		i += digits
	}
	return b, nil
}
