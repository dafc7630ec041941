package ignore

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// expression writes segments as a regular expression of the shape that pathspec gives them, so that the two choose the same match among
// several. Its only group takes part in a match through a directory above the path.
func expression(segments []segment, dir bool) string {
	var b strings.Builder
	slash := false
	last := len(segments) - 1
	for i, s := range segments {
		if s.kind == anyDepth {
			switch {
			case i == 0:
				b.WriteString(`^(?:.+/)?`)
			case i < last:
				b.WriteString(`(?:/.+)?`)
				slash = true
			case dir:
				b.WriteString(`(/)`)
			default:
				b.WriteString(`/`)
			}
			continue
		}
		if i == 0 {
			b.WriteString(`^`)
		}
		if slash {
			b.WriteString(`/`)
		}
		if s.kind == anyName {
			b.WriteString(`[^/]+`)
		} else {
			writeTokens(&b, s.tokens)
		}
		if i == last {
			// Python's $ also matches before a newline that ends the text.
			b.WriteString(`(?:(/)|\n?\z)`)
		}
		slash = true
	}
	return b.String()
}

func writeTokens(b *strings.Builder, tokens []token) {
	for _, t := range tokens {
		switch t.kind {
		case text:
			for s := t.text; s != ""; {
				r, size := decodeRune(s)
				s = s[size:]
				fmt.Fprintf(b, `\x{%x}`, r)
			}
		case star:
			b.WriteString(`[^/]*`)
		case one:
			b.WriteString(`[^/]`)
		case class:
			b.WriteByte('[')
			if t.class.negated {
				b.WriteByte('^')
			}
			for _, r := range t.class.ranges {
				fmt.Fprintf(b, `\x{%x}-\x{%x}`, r.lo, r.hi)
			}
			b.WriteByte(']')
		}
	}
}

// matchRegexp matches any path, and is always right.
func (p *pattern) matchRegexp(path string) rank {
	switch p.reach {
	case everything:
		if strings.Trim(path, "\n") != "" {
			return matchWhole
		}
		return noMatch
	case belowByDir:
		if strings.Contains(path, "/") {
			return matchAbove
		}
		return noMatch
	case belowByItself:
		if strings.Contains(path, "/") {
			return matchWhole
		}
		return noMatch
	}
	re := p.regexp()
	if re == nil {
		return noMatch
	}
	var found []int
	// RuneError stands for invalid bytes too. Regexp takes U+FFFD in a string for the surrogates that stand for them in the expression.
	if strings.ContainsRune(path, utf8.RuneError) {
		found = re.FindReaderSubmatchIndex(&pythonReader{path})
	} else if re.MatchString(path) {
		found = re.FindStringSubmatchIndex(path)
	}
	switch {
	case found == nil:
		return noMatch
	case len(found) > 2 && found[2] >= 0:
		return matchAbove
	}
	return matchWhole
}

// pythonReader reads a path's characters as Python sees them.
type pythonReader struct{ rest string }

func (p *pythonReader) ReadRune() (rune, int, error) {
	if p.rest == "" {
		return 0, 0, io.EOF
	}
	r, size := decodeRune(p.rest)
	p.rest = p.rest[size:]
	return r, size, nil
}
