package ignore

import (
	"math/rand/v2"
	"strings"
)

// profile is a way to make random rules and paths: small alphabets, so that they meet often.
type profile struct {
	name  string
	atoms []string // what names and the segments of rules are made of
	globs []string // what rules are made of besides
	tails []string // what lines may end in
}

var profiles = []profile{
	{
		name:  "plain",
		atoms: []string{"a", "b", "ab", ".log", ".py", "dir", "src"},
		globs: []string{"*", "*", "?", "**"},
		tails: []string{"", "", "", "/", "/**", "/*"},
	}, {
		name:  "brackets",
		atoms: []string{"a", "b", "-", "]", "[", "!", "^", ".", "+", "9", "0"},
		globs: []string{"*", "?", "[", "[!", "[^", "]", "[]", "[a-b]", "[!a]", "[+-9]", "[!+-9]", "[a-", "-", "[[:alpha:]]", "[b-a]", `\`, "[\\]"},
		tails: []string{"", "/", "]", "/**"},
	}, {
		name:  "escapes",
		atoms: []string{"a", `\`, "*", "#", "!", "{", "}", ",", "?", "$", "(", "|"},
		globs: []string{`\*`, `\?`, `\[`, `\\`, `\#`, `\!`, `\a`, "*", "{a,b}", `\`, "**"},
		tails: []string{"", "", "/", " ", `\ `, `\  `, `\`},
	}, {
		name:  "stars",
		atoms: []string{"a", "b", "c"},
		globs: []string{"*", "**", "***", "**/", "/**/", "/**/**", "a/**/b", "*/", "?"},
		tails: []string{"", "/", "/**", "/*", "/**/", "/*/", "**"},
	}, {
		name:  "unicode",
		atoms: []string{"a", "é", "e\u0301", "日", "\U0001f600", "\ufffd", "\u00a0", "K", "\u212a", "ß", "\xe9", "\xff", "\x80", "\xc3", "\xa9", "\ue000"},
		globs: []string{"*", "?", "[é]", "[!é]", "[a-日]", "[日-\U0010ffff]", "[\u00e0-\uffff]", "[\x80-\xff]", "[+-\xff]", "[\ufffd]"},
		tails: []string{"", "/", "\u00a0", "\u3000", "\u200b"},
	}, {
		name:  "controls",
		atoms: []string{"a", "b", "\n", "\r", "\t", "\x1c", "\x1f", "\x85", "\u0085", "\u2028", "\v", "\x01", "\x7f", " "},
		globs: []string{"*", "?", "**", "[\n]", "[!a]", "[\t-\r]", "/**/", "*/"},
		tails: []string{"", " ", "\t", "\x1f", "\u0085", "\n", "\r", "/", "/ "},
	}, {
		name:  "slashes",
		atoms: []string{"a", "b", ".", "..", "./", "/", "//"},
		globs: []string{"*", "**", "/", "//", "./", "?", "[!a]", "[.-0]", "a/", "/**/"},
		tails: []string{"", "/", "//", "/**", "/."},
	},
}

func (p profile) line(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(5) == 0 {
		b.WriteString("!")
	}
	if r.IntN(6) == 0 {
		b.WriteString("/")
	}
	if r.IntN(12) == 0 {
		b.WriteString("**/")
	}
	for i := range 1 + r.IntN(3) {
		if i > 0 {
			b.WriteString("/")
		}
		for range 1 + r.IntN(3) {
			if r.IntN(5) < 2 {
				b.WriteString(pick(r, p.globs))
			} else {
				b.WriteString(pick(r, p.atoms))
			}
		}
	}
	b.WriteString(pick(r, p.tails))
	return b.String()
}

// lines makes a list of rules. All but the first are dropped now and then, since one that is refused hides all others.
func (p profile) lines(r *rand.Rand) []string {
	lines := make([]string, 0, 6)
	for range 1 + r.IntN(6) {
		line := p.line(r)
		if _, _, reason := parsePattern(line); reason != "" && r.IntN(8) > 0 {
			continue
		}
		lines = append(lines, line)
	}
	return lines
}

func (p profile) path(r *rand.Rand) string {
	var b strings.Builder
	for i := range 1 + r.IntN(4) {
		if i > 0 {
			b.WriteString("/")
		}
		for range 1 + r.IntN(3) {
			b.WriteString(pick(r, p.atoms))
		}
	}
	return b.String()
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }
