package launch

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// PythonText is a JSON value, its numbers as [json.Number], as Python's str writes it: that is what
// Prefect's workers put into texts and environments, and its command line shows. The members of
// objects are in order of their keys.
func PythonText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return literal(v)
}

func literal(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case json.Number:
		return number(v)
	case string:
		return quote(v)
	case []any:
		elements := make([]string, len(v))
		for i, e := range v {
			elements[i] = literal(e)
		}
		return "[" + strings.Join(elements, ", ") + "]"
	case map[string]any:
		members := make([]string, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			members = append(members, quote(key)+": "+literal(v[key]))
		}
		return "{" + strings.Join(members, ", ") + "}"
	}
	return fmt.Sprint(v)
}

func number(n json.Number) string {
	if !strings.ContainsAny(n.String(), ".eE") {
		if n == "-0" {
			return "0"
		}
		return n.String()
	}
	f, _ := n.Float64() // out of range is infinite
	if math.IsInf(f, 0) {
		return strings.ToLower(strings.TrimPrefix(strconv.FormatFloat(f, 'g', -1, 64), "+"))
	}
	// Exponents from -4 to 15 are written out, and a float always looks like one.
	s := strconv.FormatFloat(f, 'e', -1, 64)
	_, digits, _ := strings.Cut(s, "e")
	if exponent, err := strconv.Atoi(digits); err != nil || exponent < -4 || exponent > 15 {
		return s
	}
	s = strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quote is Python's repr of a string.
func quote(s string) string {
	q := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	var b strings.Builder
	b.WriteRune(q)
	for _, r := range s {
		switch {
		case r == q || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteRune(q)
	return b.String()
}
