package ignore

import (
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
)

// segmentKind is how a segment is compared with a component.
type segmentKind int

const (
	literal  segmentKind = iota
	anyName              // *
	affix                // prefix*suffix, either may be empty
	infix                // *prefix*
	general              // anything else, by doublestar
	anyDepth             // **: a marker while parsing, never compared
)

// segment is the part of a pattern between two slashes.
type segment struct {
	kind    segmentKind
	prefix  string // the text of a literal; what every match starts with; what an infix contains
	suffix  string // what every match ends with
	glob    string // of a general segment: the same in doublestar's syntax
	inexact bool   // must be matched by the regular expression of its pattern
	tokens  []token
}

// tokenKind is the kind of one element of a segment.
type tokenKind int

const (
	text  tokenKind = iota // characters that stand for themselves
	star                   // any run of characters but slashes
	one                    // any character but a slash
	class                  // a character of a class
)

type token struct {
	kind  tokenKind
	text  string
	class charClass
}

// fault is what can be wrong with a segment, by severity: in pathspec an unclosed bracket voids the line and a dangling escape raises, both
// at once; a reversed range raises in the end.
type fault int

const (
	noFault fault = iota
	reversedRange
	danglingEscape
	unclosedBracket
)

func parseSegment(name string) (segment, fault) {
	tokens, f := tokenize(name)
	if f != noFault {
		return segment{}, f
	}
	s := segment{kind: general, tokens: tokens}
	if name == "*" {
		s.kind = anyName
		return s, noFault
	}
	shape := ""
	for _, t := range tokens {
		shape += string("t*?["[t.kind])
	}
	switch shape {
	case "":
		s.kind = literal
	case "t":
		s.kind, s.prefix = literal, tokens[0].text
	case "*t":
		s.kind, s.suffix = affix, tokens[1].text
	case "t*":
		s.kind, s.prefix = affix, tokens[0].text
	case "t*t":
		s.kind, s.prefix, s.suffix = affix, tokens[0].text, tokens[2].text
	case "*t*":
		s.kind, s.prefix = infix, tokens[1].text
	default:
		if first := tokens[0]; first.kind == text {
			s.prefix = first.text
		}
		if last := tokens[len(tokens)-1]; last.kind == text {
			s.suffix = last.text
		}
		s.glob = glob(tokens)
		s.inexact = !doublestar.ValidatePattern(s.glob)
	}
	for _, t := range tokens {
		s.inexact = s.inexact || t.inexact(s.kind)
	}
	return s, noFault
}

// inexact reports whether comparing bytes, or runes as doublestar sees them, could be wrong: the class matches a slash, half a character
// would count as a prefix, or U+FFFD, which Go reads for a byte that is not UTF-8, would count as such a byte.
func (t token) inexact(in segmentKind) bool {
	switch {
	case t.kind == class:
		return t.class.contains('/') || t.class.splitsInvalid()
	case t.kind == text && in == general:
		return strings.ContainsRune(t.text, utf8.RuneError) || !utf8.ValidString(t.text)
	case t.kind == text && in != literal:
		return !utf8.ValidString(t.text)
	}
	return false
}

func tokenize(name string) ([]token, fault) {
	var tokens []token
	var run strings.Builder
	endText := func() {
		if run.Len() > 0 {
			tokens = append(tokens, token{kind: text, text: run.String()})
			run.Reset()
		}
	}
	push := func(t token) {
		endText()
		// Several stars in a row mean no more than one.
		if t.kind != star || len(tokens) == 0 || tokens[len(tokens)-1].kind != star {
			tokens = append(tokens, t)
		}
	}
	result := noFault
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			if i++; i == len(name) {
				return nil, danglingEscape
			}
			if !utf8.RuneStart(name[i]) {
				// An invalid byte of its own, though without the backslash it might complete the character before.
				endText()
			}
			run.WriteByte(name[i])
		case '*':
			push(token{kind: star})
		case '?':
			push(token{kind: one})
		case '[':
			body, ok := bracket(name[i+1:])
			if !ok {
				return nil, unclosedBracket
			}
			i += len(body) + 1
			c, ok := parseClass(body)
			if !ok {
				result = reversedRange
			}
			push(token{kind: class, class: c})
		default:
			run.WriteByte(name[i])
		}
	}
	endText()
	return tokens, result
}

// glob writes tokens for doublestar, which gives a meaning to braces too.
func glob(tokens []token) string {
	var b strings.Builder
	escape := func(s string) {
		for i := 0; i < len(s); i++ {
			if strings.IndexByte(`*?[]{}\-^!,`, s[i]) >= 0 {
				b.WriteByte('\\')
			}
			b.WriteByte(s[i])
		}
	}
	for _, t := range tokens {
		switch t.kind {
		case text:
			escape(t.text)
		case star:
			b.WriteByte('*')
		case one:
			b.WriteByte('?')
		case class:
			b.WriteByte('[')
			if t.class.negated {
				b.WriteByte('^')
			}
			for _, r := range t.class.ranges {
				escape(string(r.lo))
				if r.lo < r.hi {
					b.WriteByte('-')
					escape(string(r.hi))
				}
			}
			b.WriteByte(']')
		}
	}
	return b.String()
}

func (s *segment) match(name string) bool {
	switch s.kind {
	case literal:
		return name == s.prefix
	case anyName:
		return true
	case affix:
		return len(name) >= len(s.prefix)+len(s.suffix) && strings.HasPrefix(name, s.prefix) && strings.HasSuffix(name, s.suffix)
	case infix:
		return strings.Contains(name, s.prefix)
	case general:
		return strings.HasPrefix(name, s.prefix) && strings.HasSuffix(name, s.suffix) && doublestar.MatchUnvalidated(s.glob, name)
	}
	return false
}
