package pickle

import (
	"errors"
	"fmt"
)

// Global is something that a pickle would have Python import, such as "builtins.ValueError".
type Global string

// Object is a value that a pickle would have Python build with a call. Nothing of it was called. What a pickle does to the object
// afterwards is left out: the state that it sets, items that it adds.
type Object struct {
	Callee any   // a Global, or an *Object where the pickle builds a class or function first
	Args   Tuple // of the call; keyword arguments are left out
	Offset int   // of the instruction, in bytes
}

// DecodeObjects is as [Decode], but goes on where that one gives an [*UnsafeError]: what only Python could import or build is a
// [Global] or an [*Object] in the result, so that one can say what it is. Neither is ever imported, called or built. What a pickle
// fetches from outside, or from a table that it does not bring along, is an [*UnsafeError] still.
func DecodeObjects(data []byte) (any, error) {
	return decode(data, true)
}

// opaque carries out an instruction that imports, calls or builds something, without doing so.
func (m *machine) opaque(op byte) error {
	switch op {
	case opNewObj:
		v, err := m.popN(2)
		if err != nil {
			return err
		}
		return m.pushObject(v[0], v[1])
	case opNewObjEx:
		v, err := m.popN(3)
		if err != nil {
			return err
		}
		return m.pushObject(v[0], v[1])
	case opObj:
		v, err := m.popMark()
		if err != nil {
			return err
		}
		if len(v) == 0 {
			return errUnderflow
		}
		return m.pushObject(v[0], &container{kind: aTuple, items: v[1:]})
	case opInst:
		module, err := m.line()
		if err != nil {
			return err
		}
		name, err := m.line()
		if err != nil {
			return err
		}
		args, err := m.popMark()
		if err != nil {
			return err
		}
		return m.pushObject(Global(module+"."+name), &container{kind: aTuple, items: args})
	case opBuild:
		if _, err := m.pop(); err != nil {
			return err
		}
		_, err := m.top()
		return err
	}
	return fmt.Errorf("has an unexpected instruction 0x%02x", op)
}

func (m *machine) pushObject(callee, args any) error {
	if c, ok := args.(*container); !ok || c.kind != aTuple {
		return errors.New("calls something with arguments that are no tuple")
	}
	switch f := callee.(type) {
	case builtin:
		callee = Global(f.name)
	case Global:
	case *container:
		if f.kind != anObject {
			return errors.New("calls a plain value")
		}
	default:
		return errors.New("calls a plain value")
	}
	return m.push(&container{kind: anObject, items: []any{callee, args}, offset: m.at})
}
