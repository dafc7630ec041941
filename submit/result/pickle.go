package result

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/flowship/flowship/bundle/pickle"
)

func errNotJSON() error { return fmt.Errorf("result: %w", ErrNotJSON) }

func (v *Value) fromPickle(data []byte) error {
	plain, err := pickle.Decode(data)
	if unsafe, ok := errors.AsType[*pickle.UnsafeError](err); ok {
		return v.fromObjects(data, unsafe)
	}
	if err != nil {
		return fmt.Errorf("result: %w", err)
	}
	var w writer
	w.value(plain)
	if w.err != nil {
		return w.err
	}
	v.JSON = []byte(w.String())
	return nil
}

// fromObjects says what a pickle is of which only Python could make a value.
func (v *Value) fromObjects(data []byte, unsafe *pickle.UnsafeError) error {
	decoded, err := pickle.DecodeObjects(data)
	if err != nil {
		return &NotPlainError{Global: unsafe.Global}
	}
	o, ok := decoded.(*pickle.Object)
	if !ok {
		f := finder{}
		f.value(decoded)
		if f.name == "" {
			f.name = unsafe.Global
		}
		return &NotPlainError{Global: f.name}
	}
	e := exception(o)
	if isException(o.Callee) {
		v.Exception = e
		return nil
	}
	return &NotPlainError{Global: e.Type, exception: e}
}

// finder looks for the first object in a value.
type finder struct {
	name   string
	offset int
}

func (f *finder) value(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			f.value(e)
		}
	case pickle.Tuple:
		for _, e := range v {
			f.value(e)
		}
	case map[any]any:
		for _, e := range v {
			f.value(e)
		}
	case *pickle.Object:
		if f.name == "" || v.Offset < f.offset {
			f.name, f.offset = nameOf(v), v.Offset
		}
	}
}

// nameOf says of what an object is.
func nameOf(o *pickle.Object) string {
	switch callee := o.Callee.(type) {
	case *pickle.Object:
		return className(callee)
	case pickle.Global:
		// Protocols 0 and 1 build objects with a function.
		if strings.HasSuffix(string(callee), "._reconstructor") && len(o.Args) > 0 {
			return className(o.Args[0])
		}
		return className(callee)
	}
	return ""
}

func className(class any) string {
	switch class := class.(type) {
	case pickle.Global:
		if name, ok := strings.CutPrefix(string(class), "exceptions."); ok { // of Python 2
			return "builtins." + name
		}
		return string(class)
	case *pickle.Object:
		if made, ok := readMade(class); ok {
			return made.name
		}
		return nameOf(class)
	}
	return ""
}

// madeClass is a class that a pickle brings along, as cloudpickle writes those of the flow's file.
type madeClass struct {
	name  string
	bases pickle.Tuple
}

// readMade reads the call that makes such a class.
func readMade(o *pickle.Object) (c madeClass, ok bool) {
	f, _ := o.Callee.(pickle.Global)
	text := func(v any) string { s, _ := v.(string); return s }
	var module string
	switch a := o.Args; {
	case strings.HasSuffix(string(f), "._make_skeleton_class") && len(a) > 3: // type, name, bases, members, …
		members, _ := a[3].(map[any]any)
		c.name, module = text(a[1]), text(members["__module__"])
		c.bases, _ = a[2].(pickle.Tuple)
	case strings.HasSuffix(string(f), "._make_skeleton_enum") && len(a) > 4: // bases, name, qualified name, members, module, …
		c.name, module = text(a[1]), text(a[4])
	}
	if c.name != "" && module != "" {
		c.name = module + "." + c.name
	}
	return c, c.name != ""
}

// isException reports whether a class is known to be one of exceptions.
func isException(class any) bool {
	switch class := class.(type) {
	case pickle.Global:
		module, name := cutName(string(class))
		return (module == "builtins" || module == "exceptions") && builtinExceptions[name] || module == "prefect.exceptions"
	case *pickle.Object:
		made, _ := readMade(class)
		return slices.ContainsFunc(made.bases, isException)
	}
	return false
}

// cutName parts a qualified name into the module, or class, and the name in it.
func cutName(qualified string) (module, name string) {
	if i := strings.LastIndexByte(qualified, '.'); i >= 0 {
		return qualified[:i], qualified[i+1:]
	}
	return "", qualified
}
