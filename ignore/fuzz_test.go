package ignore

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzMatch checks what must hold for all rules and paths: the index decides as the regular expressions do, rule by rule, and pruning never
// loses a file.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"dir/\n!dir/keep", "dir/keep"},
		{"*.log\n!d/\n/a*b", "d/a.log"},
		{"a/**/b/**/c\n**/x/", "a/y/b/c/d"},
		{"x[!a]y\n[+-9]\n*[\n[[:alpha:]]", "x/y"},
		{"\\*\n{a,b}\n!\\#\\ ", "*"},
		{"caf?\n[é]\n*\xe9\n\ufffd?", "caf\xe9/é"},
		{"a/***/b\n**/\n*/**\n!/", "a/x/b"},
		{"/*/*.txt\n*a*\n?", "d\n/a.txt\n"},
		{"./a\na//b\n//", ".//a"},
		{"//", ".//"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		rules, err := Compile("", strings.Split(text, "\n"))
		if err != nil || len(text)+len(path) > 2000 {
			return // the regular expressions take long on long texts
		}
		v := rules.Match(path)
		if want := rules.verdict(rules.searchRegexps(normalize(path))); v != want {
			t.Errorf("%q on %q: %+v, by regular expressions %+v", text, path, v, want)
		}
		if v.Matched != (v.Rule != nil) || v.Ignored && v.Rule.Negated {
			t.Errorf("%q on %q: inconsistent %+v", text, path, v)
		}
		if v.Ignored {
			for i := range path {
				if path[i] == '/' && i > 0 && !rules.CanMatchBelow(path[:i]) {
					t.Errorf("%q matches %q, but nothing below %q", text, path, path[:i])
				}
			}
		}
	})
}

func FuzzParseFile(f *testing.F) {
	for _, seed := range []string{"", "*.log\n!keep\n", "\ufefffoo\r\nbar\x1f\x85", "a\\ \n[z-a]", "# c\n #d\n\x00", "a/**/\f**/b\u2028!", "x\\"} {
		f.Add([]byte(seed), "a/b.log")
	}
	f.Fuzz(func(t *testing.T, data []byte, path string) {
		rules, err := ParseFile(".prefectignore", data)
		if err != nil && rules != nil {
			t.Errorf("rules and an error: %v", err)
		}
		if err == nil {
			if !utf8.Valid(data) {
				t.Error("took what is not UTF-8")
			}
			last := 0
			for i := range rules.rules {
				r := &rules.rules[i].Rule
				if r.Line <= last || !strings.Contains(string(data), r.Pattern) {
					t.Errorf("rule %+v after line %d", *r, last)
				}
				last = r.Line
			}
			rules.Match(path)
		}
		// Git refuses nothing.
		var ig Ignores
		ig.files = []ignoreFile{{git: func() []gitRule { return parseGit("", string(data)) }}}
		ig.GitVerdict(path)
	})
}
