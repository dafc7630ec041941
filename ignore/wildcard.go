package ignore

import "strings"

// wildcard is a pattern of git's own matcher with slashes kept apart. It works on bytes.
type wildcard struct {
	steps []wildStep
	never bool // malformed: an open bracket, an unknown class, a backslash at the end
}

type wildKind int

const (
	wildBytes wildKind = iota // one byte of a set
	wildStar                  // any run without a slash
	wildDeep                  // any run
	wildDirs                  // nothing, or any run that ends in a slash
)

type wildStep struct {
	kind wildKind
	set  byteSet
}

type byteSet [256]bool

func parseWildcard(p string) wildcard {
	var w wildcard
	for i := 0; i < len(p); {
		step := wildStep{}
		switch p[i] {
		case '\\':
			if i+1 == len(p) {
				return wildcard{never: true}
			}
			step.set[p[i+1]] = true
			i += 2
		case '?':
			for b := range step.set {
				step.set[b] = b != '/'
			}
			i++
		case '*':
			start := i
			for i < len(p) && p[i] == '*' {
				i++
			}
			alone := (start == 0 || p[start-1] == '/') && (i == len(p) || p[i] == '/' || strings.HasPrefix(p[i:], `\/`))
			switch {
			case i-start == 1 || !alone:
				step.kind = wildStar
			case i < len(p) && p[i] == '/':
				step.kind = wildDirs
				i++
			default:
				step.kind = wildDeep
			}
		case '[':
			size := step.set.parse(p[i+1:])
			if size == 0 {
				return wildcard{never: true}
			}
			i += 1 + size
		default:
			step.set[p[i]] = true
			i++
		}
		w.steps = append(w.steps, step)
	}
	return w
}

// parse reads a bracket expression after its "[" and returns its size with the "]", or 0 if it is malformed.
func (set *byteSet) parse(s string) (size int) {
	i := 0
	negated := s != "" && (s[0] == '!' || s[0] == '^')
	if negated {
		i = 1
	}
	low := -1 // what a "-" would start a range from
	for first := true; ; first = false {
		switch {
		case i >= len(s):
			return 0
		case s[i] == ']' && !first:
			if negated {
				for b := range set {
					set[b] = !set[b]
				}
			}
			set['/'] = false
			return i + 1
		case s[i] == '-' && low >= 0 && i+1 < len(s) && s[i+1] != ']':
			i++
			if s[i] == '\\' {
				if i++; i == len(s) {
					return 0
				}
			}
			for b := low; b <= int(s[i]); b++ {
				set[b] = true
			}
			low = -1
			i++
		case strings.HasPrefix(s[i:], "[:"):
			end := strings.IndexByte(s[i+2:], ']')
			if end < 0 {
				return 0
			}
			name, ok := strings.CutSuffix(s[i+2:i+2+end], ":")
			if !ok {
				set['['] = true
				low = '['
				i++
				continue
			}
			member := posixClass(name)
			if member == nil {
				return 0
			}
			for b := range set {
				set[b] = set[b] || b < 0x80 && member(byte(b))
			}
			low = -1
			i += 2 + end + 1
		default:
			if s[i] == '\\' {
				if i++; i == len(s) {
					return 0
				}
			}
			set[s[i]] = true
			low = int(s[i])
			i++
		}
	}
}

// posixClass holds the classes for ASCII, with git's idea of a space. It is nil for a name that git does not know.
func posixClass(name string) func(b byte) bool {
	switch name {
	case "alnum":
		return func(b byte) bool { return isAlpha(b) || isDigit(b) }
	case "alpha":
		return isAlpha
	case "blank":
		return func(b byte) bool { return b == ' ' || b == '\t' }
	case "cntrl":
		return func(b byte) bool { return b < ' ' || b == 0x7f }
	case "digit":
		return isDigit
	case "graph":
		return func(b byte) bool { return b > ' ' && b < 0x7f }
	case "lower":
		return func(b byte) bool { return 'a' <= b && b <= 'z' }
	case "print":
		return func(b byte) bool { return b >= ' ' && b < 0x7f }
	case "punct":
		return func(b byte) bool { return b > ' ' && b < 0x7f && !isAlpha(b) && !isDigit(b) }
	case "space":
		return func(b byte) bool { return strings.IndexByte(" \t\n\r", b) >= 0 }
	case "upper":
		return func(b byte) bool { return 'A' <= b && b <= 'Z' }
	case "xdigit":
		return func(b byte) bool { return isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'f' }
	}
	return nil
}

func isAlpha(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }
func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// match follows all ways through the pattern at once, so that no pattern is slow.
func (w wildcard) match(text string) bool {
	if w.never {
		return false
	}
	// here[i]: the steps so far can end before text[i].
	here, next := make([]bool, len(text)+1), make([]bool, len(text)+1)
	here[0] = true
	for _, step := range w.steps {
		some := false // dirs only: a run may have started
		for i := range next {
			switch step.kind {
			case wildBytes:
				next[i] = i > 0 && here[i-1] && step.set[text[i-1]]
			case wildStar:
				next[i] = here[i] || i > 0 && next[i-1] && text[i-1] != '/'
			case wildDeep:
				next[i] = here[i] || i > 0 && next[i-1]
			case wildDirs:
				next[i] = here[i] || i > 0 && some && text[i-1] == '/'
				some = some || here[i]
			}
		}
		here, next = next, here
	}
	return here[len(text)]
}
