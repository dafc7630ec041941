package result

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"

	"github.com/flowship/flowship/bundle/pickle"
)

// builtinExceptions are those of Python.
var builtinExceptions = set(`ArithmeticError AssertionError AttributeError BaseException BaseExceptionGroup
	BlockingIOError BrokenPipeError BufferError BytesWarning ChildProcessError ConnectionAbortedError ConnectionError
	ConnectionRefusedError ConnectionResetError DeprecationWarning EOFError EncodingWarning Exception ExceptionGroup
	FileExistsError FileNotFoundError FloatingPointError FutureWarning GeneratorExit IOError ImportError ImportWarning
	IndentationError IndexError InterruptedError IsADirectoryError KeyError KeyboardInterrupt LookupError MemoryError
	ModuleNotFoundError NameError NotADirectoryError NotImplementedError OSError OverflowError PendingDeprecationWarning
	PermissionError ProcessLookupError PythonFinalizationError RecursionError ReferenceError ResourceWarning RuntimeError
	RuntimeWarning StopAsyncIteration StopIteration SyntaxError SyntaxWarning SystemError SystemExit TabError TimeoutError
	TypeError UnboundLocalError UnicodeDecodeError UnicodeEncodeError UnicodeError UnicodeTranslateError UnicodeWarning
	UserWarning ValueError Warning ZeroDivisionError`)

// systemErrors are those whose arguments are a number, a text and perhaps a file.
var systemErrors = set(`OSError IOError BlockingIOError BrokenPipeError ChildProcessError ConnectionAbortedError ConnectionError
	ConnectionRefusedError ConnectionResetError FileExistsError FileNotFoundError InterruptedError IsADirectoryError
	NotADirectoryError PermissionError ProcessLookupError TimeoutError`)

func set(names string) map[string]bool {
	all := map[string]bool{}
	for _, name := range strings.Fields(names) {
		all[name] = true
	}
	return all
}

// exception is what an object is as an exception. Its text is what Python's own classes make of
// the arguments.
func exception(o *pickle.Object) *Exception {
	e := &Exception{Type: nameOf(o)}
	_, name := cutName(e.Type)
	text := ""
	if len(o.Args) > 0 {
		text, _ = o.Args[0].(string)
	}
	var r repr
	switch n := len(o.Args); {
	case n == 0:
	case n == 1 && text != "" && name != "KeyError":
		r.add(text)
	case n == 1 && o.Args[0] == any(""):
	case n == 1:
		r.value(o.Args[0])
	case systemErrors[name] && n <= 3:
		r.add("[Errno ")
		r.str(o.Args[0])
		r.add("] ")
		r.str(o.Args[1])
		if n == 3 {
			r.add(": ")
			r.value(o.Args[2])
		}
	case strings.HasSuffix(name, "ExceptionGroup") && n == 2:
		within, _ := o.Args[1].([]any)
		r.add(fmt.Sprintf("%s (%d sub-exception", text, len(within)))
		if len(within) != 1 {
			r.add("s")
		}
		r.add(")")
	default:
		r.value(o.Args)
	}
	e.Message = r.String()
	return e
}

// maxMessage is the number of bytes at which the text of arguments is cut off.
const maxMessage = 1 << 20

// repr writes values as Python shows them.
type repr struct{ strings.Builder }

func (r *repr) full() bool { return r.Len() > maxMessage }

func (r *repr) add(s string) {
	if !r.full() {
		r.WriteString(s)
	}
}

// str writes what str() does.
func (r *repr) str(v any) {
	if s, ok := v.(string); ok {
		r.add(s)
		return
	}
	r.value(v)
}

func (r *repr) value(v any) {
	if r.full() {
		return
	}
	switch v := v.(type) {
	case nil:
		r.add("None")
	case bool:
		if v {
			r.add("True")
		} else {
			r.add("False")
		}
	case int64:
		r.add(strconv.FormatInt(v, 10))
	case *big.Int:
		r.add(v.String())
	case float64:
		switch {
		case math.IsNaN(v):
			r.add("nan")
		case math.IsInf(v, 1):
			r.add("inf")
		case math.IsInf(v, -1):
			r.add("-inf")
		default:
			r.add(float(v))
		}
	case string:
		r.quote(v, false)
	case []byte:
		r.add("b")
		r.quote(string(v), true)
	case []any:
		r.list("[", v, "]")
	case pickle.Tuple:
		if len(v) == 1 {
			r.list("(", v, ",)")
		} else {
			r.list("(", v, ")")
		}
	case pickle.Set:
		if len(v) == 0 {
			r.add("set()")
		} else {
			r.list("{", sorted(v), "}")
		}
	case map[any]any:
		r.dict(v)
	case pickle.Global:
		r.add("<" + string(v) + ">")
	case *pickle.Object:
		_, name := cutName(nameOf(v))
		r.add(name)
		r.list("(", v.Args, ")")
	}
}

func (r *repr) list(open string, items []any, end string) {
	r.add(open)
	for i, e := range items {
		if r.full() {
			return
		}
		if i > 0 {
			r.add(", ")
		}
		r.value(e)
	}
	r.add(end)
}

func (r *repr) dict(members map[any]any) {
	keys := pickle.Set{}
	for k := range members {
		keys[k] = struct{}{}
	}
	r.add("{")
	for i, k := range sorted(keys) {
		if r.full() {
			return
		}
		if i > 0 {
			r.add(", ")
		}
		r.value(k)
		r.add(": ")
		r.value(members[k])
	}
	r.add("}")
}

// quote writes a text, or bytes, in the quotation marks that Python would take.
func (r *repr) quote(s string, bytes bool) {
	mark := "'"
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		mark = `"`
	}
	r.add(mark)
	one := func(c rune) {
		switch {
		case c == '\\' || string(c) == mark:
			r.add(`\` + string(c))
		case c == '\n':
			r.add(`\n`)
		case c == '\r':
			r.add(`\r`)
		case c == '\t':
			r.add(`\t`)
		case c < ' ' || c == 0x7f || bytes && c > 0x7f:
			r.add(fmt.Sprintf(`\x%02x`, c))
		case c < 0x7f || unicode.IsPrint(c):
			r.add(string(c))
		case c < 0x100:
			r.add(fmt.Sprintf(`\x%02x`, c))
		case c < 0x10000:
			r.add(fmt.Sprintf(`\u%04x`, c))
		default:
			r.add(fmt.Sprintf(`\U%08x`, c))
		}
	}
	if bytes {
		for i := 0; i < len(s) && !r.full(); i++ {
			one(rune(s[i]))
		}
	} else {
		for _, c := range s {
			if r.full() {
				break
			}
			one(c)
		}
	}
	r.add(mark)
}
