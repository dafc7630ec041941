package ignore

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestVectors runs cases made by pathspec 1.1.1 itself.
func TestVectors(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "testdata", "vectors", "ignore.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for line := range bytes.Lines(data) {
		var c struct {
			ID    string
			Lines []string
			Paths map[string]bool
			Error bool
		}
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		count++
		rules, err := Compile("", c.Lines)
		if c.Error {
			if err == nil {
				t.Errorf("%s: %q: no error", c.ID, c.Lines)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.ID, err)
			continue
		}
		got := make(map[string]bool)
		for path := range c.Paths {
			got[path] = rules.Match(path).Ignored
		}
		if diff := cmp.Diff(c.Paths, got); diff != "" {
			t.Errorf("%s: %q (-want +got):\n%s", c.ID, c.Lines, diff)
		}
	}
	if count == 0 {
		t.Error("no vectors")
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		lines   string // separated by spaces; ␠ stands for a space
		ignored string
		kept    string
	}{
		{"dir/ !dir/keep", "dir/x", "dir/keep"},
		{"!dir/keep dir/", "dir/x", "dir/keep"},
		{"* !keep", "keep/x", "keep dir/keep"},
		{"*.log !d/", "a.log d/b.log", ""},
		{"d/ !d/e/", "d/x", "d/e/y"},
		{"d/** !d/e/", "d/x d/e/y", ""},
		{"/*", "a d/a", ""},
		{"/a", "a a/b", "d/a"},
		{"a/b", "a/b a/b/c", "x/a/b"},
		{"a/", "a/b x/a/b", "a"},
		{"a", "a a/b x/a x/a/b", "ab"},
		{"**/a", "a x/a", ""},
		{"a/**/b", "a/b a/x/b a/x/y/b", "ab a/xb"},
		{"a/**", "a/b", "a"},
		{"a**b", "ab axb", "a/b"},
		{"?", "a a/b", "ab"},
		{"[!a].txt", "b.txt", "a.txt"},
		{"[^a].txt", "b.txt", "a.txt"},
		{"[]a].t", "].t a.t", "b.t"},
		{"[a", "", "[a a"},
		{"a [a/b\\", "a", "[a/b"},
		{"[z-a]/[q", "", "z/q"},
		{"![a a", "a", ""},
		{"[[:alpha:]].t", "", "b.t"},
		{"␠a", "␠a", "a"},
		{"a␠", "a", "a␠"},
		{"a\\␠", "a␠", "a"},
		{"␠␠#␠c", "␠␠#␠c", "c"},
		{"\\#a", "#a", "a"},
		{"\\!a", "!a", "a"},
		{"d\\*.json", "d*.json", "d/x.json dx.json"},
		{"./a", "", "a ./a"},
		{"a//b", "a//b", "a/b"},
		{"*/", "d/a", "a"},
		{"**/", "d/a", "a"},
		{"*/**", "d/a", "a"},
		{"d/*", "d/a d/e/a", "d"},
		{"d*/", "dx/y", "d"},
		{"*.txt/", "a.txt/b", "a.txt"},
		{".env*", ".env c/.env.production .envrc/x", "env"},
		{"/ # ␠", "", "a / #"},
		{"!/ a/", "", "x/y"},
		{"/**", "a a/b", ""},
		{"x[!a]y a[+-9]b", "x/y a/b", "xay"},
		{"{foo,bar}", "{foo,bar}", "foo bar"},
		{"*.tar.gz *~ core.* *_rsa *cache*", "a.tar.gz b~ core.1 x/id_rsa/k my_cache_1 cache", "a.gz tar.gz acore.1 cach"},
		{"a/***/b", "a/x/b", "a/b a/x/y/b"},
		{"foo\t bar\u00a0 baz\x1f", "foo bar baz", ""},
		{"F*", "Foo", "foo"},
		{"/a/b/c a/*/d", "a/b/c a/x/d a/x/d/e", "b/c a/b/d2 x/a/b/c"},
	}
	for _, tt := range tests {
		plain := func(s string) []string {
			fields := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' })
			for i := range fields {
				fields[i] = strings.ReplaceAll(fields[i], "␠", " ")
			}
			return fields
		}
		rules, err := Compile("", plain(tt.lines))
		if err != nil {
			t.Errorf("%q: %v", tt.lines, err)
			continue
		}
		for _, path := range plain(tt.ignored) {
			if !rules.Match(path).Ignored {
				t.Errorf("%q keeps %q", tt.lines, path)
			}
		}
		for _, path := range plain(tt.kept) {
			if rules.Match(path).Ignored {
				t.Errorf("%q ignores %q", tt.lines, path)
			}
		}
	}
}

// TestNewlines has paths that only Unix can hold, and Python's $ and dot treat in their own way.
func TestNewlines(t *testing.T) {
	tests := []struct {
		line, path string
		ignored    bool
	}{
		{"*.txt", "a.txt\n", true},
		{"*.txt", "a.txt\n\n", false},
		{"*.txt", "d\n/a.txt", false},
		{"/*/*.txt", "d\n/a.txt", true},
		{"a/**/b", "a/\n/b", false},
		{"*", "\n", false},
		{"*", "a\n", true},
		{"a\\\nb", "a\nb", true},
	}
	for _, tt := range tests {
		rules, err := Compile("", []string{tt.line})
		if err != nil {
			t.Fatal(err)
		}
		if got := rules.Match(tt.path).Ignored; got != tt.ignored {
			t.Errorf("%q on %q: ignored %v, want %v", tt.line, tt.path, got, tt.ignored)
		}
	}
}

func TestDecidingRule(t *testing.T) {
	text := "# logs\n\n*.log\n!keep.log\r\nbuild/\f/data/*.csv\u2028!*\n"
	rules, err := ParseFile(".prefectignore", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path string
		want Verdict
	}{
		{"a.log", Verdict{true, false, &Rule{"!*", ".prefectignore", 7, true}}},
		{"build/x", Verdict{true, false, &Rule{"!*", ".prefectignore", 7, true}}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, rules.Match(tt.path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.path, diff)
		}
	}
	rules, err = ParseFile(".prefectignore", []byte(strings.TrimSuffix(text, "!*\n")))
	if err != nil {
		t.Fatal(err)
	}
	tests = []struct {
		path string
		want Verdict
	}{
		{"x/a.log", Verdict{true, true, &Rule{"*.log", ".prefectignore", 3, false}}},
		{"x/keep.log", Verdict{true, false, &Rule{"!keep.log", ".prefectignore", 4, true}}},
		{"x/build/keep.log", Verdict{true, false, &Rule{"!keep.log", ".prefectignore", 4, true}}},
		{"x/build/y", Verdict{true, true, &Rule{"build/", ".prefectignore", 5, false}}},
		{"data/a.csv", Verdict{true, true, &Rule{"/data/*.csv", ".prefectignore", 6, false}}},
		{"x/data/a.csv", Verdict{}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, rules.Match(tt.path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.path, diff)
		}
	}
	if got := rules.Match("a.log").Rule.String(); got != ".prefectignore:3" {
		t.Errorf("rule from a file: %q", got)
	}
	if got := (&Rule{Pattern: "*.log", Line: 1}).String(); got != "*.log" {
		t.Errorf("rule from no file: %q", got)
	}
}

func TestPatternErrors(t *testing.T) {
	tests := []struct{ line, reason string }{
		{"!", `nothing after "!"`},
		{"! ", `nothing after "!"`},
		{`a\`, "a backslash with nothing to escape"},
		{`a\/b`, "a backslash with nothing to escape"},
		{`foo\  `, "a backslash with nothing to escape"},
		{`b\/[a`, "a backslash with nothing to escape"},
		{`[z-a]/b\`, "a backslash with nothing to escape"},
		{"[z-a]", "a character range that runs backwards"},
		{`[a-\]`, "a character range that runs backwards"},
		{"x/![é-a]", "a character range that runs backwards"},
	}
	for _, tt := range tests {
		_, err := Compile("f", []string{"ok", tt.line})
		var got *PatternError
		if !errors.As(err, &got) {
			t.Errorf("%q: got %v, want a PatternError", tt.line, err)
			continue
		}
		if diff := cmp.Diff(&PatternError{Pattern: tt.line, Source: "f", Line: 2, Reason: tt.reason}, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.line, diff)
		}
	}
	err := error(&PatternError{Pattern: "a\\", Line: 1, Reason: "r"})
	if diff := cmp.Diff(`invalid pattern "a\\": r`, err.Error()); diff != "" {
		t.Error(diff)
	}
	err = &PatternError{Pattern: "a\\", Source: "f", Line: 1, Reason: "r"}
	if diff := cmp.Diff(`f:1: invalid pattern "a\\": r`, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestSplitLines(t *testing.T) {
	tests := []struct {
		text string
		want []string
	}{
		{"", nil},
		{"a", []string{"a"}},
		{"a\n", []string{"a"}},
		{"a\n\nb", []string{"a", "", "b"}},
		{"a\r\nb\rc\n\rd", []string{"a", "b", "c", "", "d"}},
		{"a\vb\fc\x1cd\x1de\x1ef\u0085g\u2028h\u2029", []string{"a", "b", "c", "d", "e", "f", "g", "h"}},
		{"a\x1fb\u00a0c", []string{"a\x1fb\u00a0c"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, slices.Collect(splitLines(tt.text))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.text, diff)
		}
	}
}

func TestCanMatchBelow(t *testing.T) {
	tests := []struct {
		line string
		yes  string
		no   string
	}{
		{"data/*.csv", ". data", "other data2 data.d data/sub x/data"},
		{"data/", "data data/sub x", ""},
		{"/data", "data data/sub", "x x/data"},
		{"*.py", "a a/b", ""},
		{"a/*/c", "a a/b a/b/c a/b/c/d", "b a/b/d"},
		{"a/**/c", "a a/b a/b/c/d", "b b/a"},
		{"a/b*/**", "a a/b a/bc/d", "a/c"},
		{"x[!a]y", "a x", ""},
		{"a/x[!a]y", "a a/b", "b"},
		{"!data/", "", "data x"},
		{"*", "a", ""},
		{"# c", "", "a"},
	}
	for _, tt := range tests {
		rules, err := Compile("", []string{tt.line})
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range strings.Fields(tt.yes) {
			if !rules.CanMatchBelow(dir) || !rules.CanMatchBelow(dir+"/") || !rules.CanMatchBelow("./"+dir) {
				t.Errorf("%q: nothing below %s", tt.line, dir)
			}
		}
		for _, dir := range strings.Fields(tt.no) {
			if rules.CanMatchBelow(dir) || rules.CanMatchBelow(dir+"/") || rules.CanMatchBelow("./"+dir) {
				t.Errorf("%q: something below %s", tt.line, dir)
			}
		}
	}
}
