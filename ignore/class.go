package ignore

import (
	"strings"
	"unicode/utf8"
)

// charClass is a bracket expression as Python's re reads it.
type charClass struct {
	negated bool
	ranges  []runeRange
}

type runeRange struct{ lo, hi rune }

// bracket returns what stands in a bracket expression whose "[" precedes s. ok is false if it has no end.
func bracket(s string) (body string, ok bool) {
	i := 0
	if negates(s) {
		i = 1
	}
	// A "]" in the first place stands for itself.
	if i < len(s) && s[i] == ']' {
		i++
	}
	end := strings.IndexByte(s[i:], ']')
	if end < 0 {
		return "", false
	}
	return s[:i+end], true
}

func negates(body string) bool { return body != "" && (body[0] == '!' || body[0] == '^') }

// parseClass reads the inside of a bracket expression, where the backslash is a character as any other. ok is false if a range is reversed.
func parseClass(body string) (c charClass, ok bool) {
	if c.negated = negates(body); c.negated {
		body = body[1:]
	}
	ok = true
	for body != "" {
		lo, size := decodeRune(body)
		body = body[size:]
		hi := lo
		if len(body) > 1 && body[0] == '-' {
			hi, size = decodeRune(body[1:])
			body = body[1+size:]
		}
		ok = ok && lo <= hi
		c.ranges = append(c.ranges, runeRange{lo, hi})
	}
	return c, ok
}

func (c charClass) contains(r rune) bool {
	for _, x := range c.ranges {
		if x.lo <= r && r <= x.hi {
			return !c.negated
		}
	}
	return c.negated
}

// splitsInvalid reports whether the class may tell bytes that are not UTF-8 from each other or from U+FFFD.
func (c charClass) splitsInvalid() bool {
	for _, x := range c.ranges {
		apart := x.hi < firstInvalid || x.lo > utf8.RuneError
		all := x.lo < firstInvalid && x.hi >= utf8.RuneError
		if !apart && !all {
			return true
		}
	}
	return false
}

// Python reads a byte b that is not part of valid UTF-8 as the lone surrogate U+DC00+b, with b from 0x80.
const (
	invalidBase  = 0xdc00
	firstInvalid = invalidBase + 0x80
)

// decodeRune is utf8.DecodeRuneInString, except that it reads invalid bytes as Python does.
func decodeRune(s string) (rune, int) {
	r, size := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && size == 1 {
		r = invalidBase + rune(s[0])
	}
	return r, size
}
