// Package ignore decides which files a set of ignore rules leaves out, exactly as Prefect 3.8 decides it, and names the rule that did.
//
//	rules, err := ignore.Compile("", []string{"*.log", "!keep.log", "build/"})
//	…
//	v := rules.Match("logs/today.log")
//	fmt.Println(v.Ignored, v.Rule) // true *.log
//
// [Compile] takes the lines of one list of patterns, [ParseFile] the text of a .prefectignore, and [Load] finds and reads the .prefectignore
// files that apply to one directory. Beside them stand the three fixed sets that packing applies: [DefaultExclusion], [Hidden] and [Sensitive].
//
// # What a rule means
//
// The syntax is that of .gitignore; the meaning is that of GitIgnoreSpec in Python's pathspec 1.1.1, which Prefect uses. Where the two
// disagree, this package sides with pathspec, so that the same files are packed:
//
//   - A rule without a slash, or with one at its end only, applies at any depth; every other rule is anchored to the directory of its file.
//   - A match of the whole path, or of all that is inside (dir/**), outranks a match of a directory above the path. The last rule of the
//     higher rank decides. So "!dir/keep" brings a file back from an ignored dir/, wherever in the list it stands; git never does that.
//   - Unicode blanks at the end of a line are dropped, an unclosed "[" voids its line, POSIX classes have no meaning, and a class such as
//     [!a] may match a slash.
//
// [Ignores.GitVerdict] tells what git itself would have decided, for people whose files behave differently than they are used to.
//
// # How it is fast
//
// Rules are indexed by the one path component that a matching path must have: a literal name, an extension, a prefix or a suffix. A path
// looks its components up and tries only the rules found, so a thousand rules cost little more than ten. Segments that are none of these are
// matched by doublestar. The few rules that reach across components (their class can match a slash), and the paths that only a regular
// expression treats as Python does (those with a newline or an empty component), use one of pathspec's shape.
package ignore

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrEncoding is what [ParseFile] and [Load] wrap for a file that is not UTF-8.
var ErrEncoding = errors.New("not valid UTF-8")

// Rule is one line that has an effect.
type Rule struct {
	Pattern string // the line as written
	Source  string // the file it came from, as a person would name it; "" for a list of patterns
	Line    int    // its line, from 1
	Negated bool   // whether it starts with "!", taking back what other rules ignore
}

// String is where the rule stands, ".prefectignore:3", or the pattern itself if it came from no file.
func (r *Rule) String() string {
	if r.Source == "" {
		return r.Pattern
	}
	return fmt.Sprintf("%s:%d", r.Source, r.Line)
}

// PatternError reports a line that pathspec refuses. It refuses few: most odd patterns merely match nothing.
type PatternError struct {
	Pattern string
	Source  string // "" for a list of patterns
	Line    int    // from 1
	Reason  string
}

func (e *PatternError) Error() string {
	if e.Source == "" {
		return fmt.Sprintf("invalid pattern %q: %s", e.Pattern, e.Reason)
	}
	return fmt.Sprintf("%s:%d: invalid pattern %q: %s", e.Source, e.Line, e.Pattern, e.Reason)
}

// Verdict is what a list of rules says of one path.
type Verdict struct {
	Matched bool  // some rule, of either sense, matched
	Ignored bool  // the deciding rule is not negated
	Rule    *Rule // the deciding rule, nil if none matched
}

// Rules is a compiled list of rules. It is immutable and safe for concurrent use.
type Rules struct {
	rules []rule
	index index
}

// rule is a Rule with its compiled pattern.
type rule struct {
	Rule
	pattern
}

// Compile compiles lines as GitIgnoreSpec.from_lines does. Blank lines, comments and lines that pathspec discards yield no rule but count
// as lines. The error is a [*PatternError].
func Compile(source string, lines []string) (*Rules, error) {
	rs := &Rules{}
	for i, line := range lines {
		if err := rs.add(source, line, i+1); err != nil {
			return nil, err
		}
	}
	rs.index = newIndex(rs.rules)
	return rs, nil
}

// ParseFile compiles the text of a .prefectignore, as Prefect splits it into lines. The error is a [*PatternError] or wraps [ErrEncoding].
func ParseFile(source string, data []byte) (*Rules, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%s: %w", source, ErrEncoding)
	}
	rs := &Rules{}
	number := 0
	for line := range splitLines(string(data)) {
		number++
		if strings.TrimFunc(line, isSpace) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := rs.add(source, line, number); err != nil {
			return nil, err
		}
	}
	rs.index = newIndex(rs.rules)
	return rs, nil
}

func (rs *Rules) add(source, line string, number int) error {
	p, effective, reason := parsePattern(line)
	if reason != "" {
		return &PatternError{Pattern: line, Source: source, Line: number, Reason: reason}
	}
	if effective {
		rs.rules = append(rs.rules, rule{Rule{Pattern: line, Source: source, Line: number, Negated: p.negated}, p})
	}
	return nil
}

// Match judges a path that is relative to the directory of the rules and separated by "/". One leading "/" or "./" is dropped, as pathspec
// does.
func (rs *Rules) Match(path string) Verdict {
	path = normalize(path)
	var buf [maxStackDepth]int
	if c, ok := split(path, buf[:0]); ok {
		return rs.verdict(rs.search(path, c))
	}
	return rs.verdict(rs.searchRegexps(path))
}

func (rs *Rules) verdict(best ranking) Verdict {
	decider := best.whole
	if decider < 0 {
		decider = best.above
	}
	if decider < 0 {
		return Verdict{}
	}
	r := &rs.rules[decider].Rule
	return Verdict{Matched: true, Ignored: !r.Negated, Rule: r}
}

// CanMatchBelow reports whether some file below the directory dir could be matched by a rule that is not negated. A walk for such files may
// skip a directory for which it is false; true promises nothing. The directory of the rules themselves is "" or ".".
func (rs *Rules) CanMatchBelow(dir string) bool {
	dir = strings.TrimSuffix(normalize(dir), "/")
	var buf [maxStackDepth]int
	c, plain := split(dir, buf[:0])
	plain = plain && dir != "."
	for i := range rs.rules {
		if p := &rs.rules[i].pattern; !p.negated && (!plain || p.canMatchBelow(c)) {
			return true
		}
	}
	return false
}

func normalize(path string) string {
	if rest, ok := strings.CutPrefix(path, "/"); ok {
		return rest
	}
	return strings.TrimPrefix(path, "./")
}

// maxStackDepth is the number of components up to which a match allocates nothing.
const maxStackDepth = 32

// components are the parts of a path between its slashes.
type components struct {
	path string
	ends []int // end of each component in path
}

// split divides path at its slashes, using buf. ok is false for a path that has an empty component or a newline: there the anchors, dots and
// stars of a regular expression differ from a comparison component by component.
func split(path string, buf []int) (c components, ok bool) {
	start := 0
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '/':
			if i == start {
				return components{}, false
			}
			buf = append(buf, i)
			start = i + 1
		case '\n':
			return components{}, false
		}
	}
	if start == len(path) {
		return components{}, false
	}
	return components{path, append(buf, len(path))}, true
}

func (c components) len() int { return len(c.ends) }

func (c components) at(i int) string {
	if i == 0 {
		return c.path[:c.ends[0]]
	}
	return c.path[c.ends[i-1]+1 : c.ends[i]]
}
