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

var profiles = withMixture([]profile{
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
		globs: []string{"*", "?", "\xc3\\\xa9", `\é`, "[é]", "[!é]", "[a-日]", "[日-\U0010ffff]", "[\u00e0-\uffff]", "[\x80-\xff]", "[+-\xff]", "[\ufffd]"},
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
})

// withMixture adds a profile that has everything of the others.
func withMixture(profiles []profile) []profile {
	all := profile{name: "mixture"}
	for _, p := range profiles {
		all.atoms = append(all.atoms, p.atoms...)
		all.globs = append(all.globs, p.globs...)
		all.tails = append(all.tails, p.tails...)
	}
	return append(profiles, all)
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

// pathLike makes a path that a line may match: each wildcard replaced by something it could stand for.
func (p profile) pathLike(r *rand.Rand, line string) string {
	line = strings.TrimPrefix(strings.TrimPrefix(line, "!"), "/")
	var b strings.Builder
	if r.IntN(4) == 0 {
		b.WriteString(pick(r, p.atoms) + "/")
	}
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case strings.HasPrefix(line[i:], "**"):
			b.WriteString(pick(r, []string{"", pick(r, p.atoms), p.path(r)}))
			i++
		case c == '*':
			b.WriteString(pick(r, []string{"", pick(r, p.atoms)}))
		case c == '?':
			b.WriteString(pick(r, p.atoms))
		case c == '[' && strings.Contains(line[i+1:], "]"):
			end := i + 1 + strings.IndexByte(line[i+1:], ']')
			b.WriteString(pick(r, []string{line[i+1 : end], pick(r, p.atoms), pick(r, p.atoms), "/"}))
			i = end
		case c == '\\' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		default:
			b.WriteByte(c)
		}
	}
	if r.IntN(3) == 0 {
		b.WriteString("/" + pick(r, p.atoms))
	}
	return b.String()
}

// paths makes n paths, half of them such as the lines may match.
func (p profile) paths(r *rand.Rand, lines []string, n int) []string {
	paths := make([]string, n)
	for i := range paths {
		if i%2 == 0 && len(lines) > 0 {
			paths[i] = p.pathLike(r, pick(r, lines))
		} else {
			paths[i] = p.path(r)
		}
	}
	return paths
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }
