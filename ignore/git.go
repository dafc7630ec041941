package ignore

import "strings"

// gitRule is a line as git reads it from a .gitignore.
type gitRule struct {
	Rule
	dirOnly  bool
	nameOnly bool   // has no slash but one at its end: compared with the name alone
	literal  string // what precedes the first wildcard
	rest     wildcard
}

// GitVerdict tells what git would decide about an untracked file if the same text stood in .gitignore files: for explaining where Prefect,
// hence Match, differs from what people know. The two disagree on a few percent of paths, mostly because git never looks into an ignored
// directory for files to bring back.
func (ig *Ignores) GitVerdict(rel string) Verdict {
	if len(ig.files) == 0 {
		return Verdict{}
	}
	top := ig.files[0].prefix
	path := top + rel
	for end := 0; ; end++ {
		if slash := strings.IndexByte(path[end:], '/'); slash >= 0 {
			end += slash
		} else {
			end = len(path)
		}
		v := ig.gitLast(top, path[:end], end < len(path))
		if end == len(path) || v.Ignored {
			return v
		}
	}
}

// gitLast is the verdict of the last rule that matches path, those of the deepest file first, without regard to the directories above it.
func (ig *Ignores) gitLast(top, path string, dir bool) Verdict {
	for i := len(ig.files) - 1; i >= 0; i-- {
		f := &ig.files[i]
		name, below := strings.CutPrefix(path, strings.TrimSuffix(top, f.prefix))
		if !below || name == "" {
			continue
		}
		rules := f.git()
		for j := len(rules) - 1; j >= 0; j-- {
			if r := &rules[j]; r.match(name, dir) {
				return Verdict{Matched: true, Ignored: !r.Negated, Rule: &r.Rule}
			}
		}
	}
	return Verdict{}
}

func parseGit(source, data string) []gitRule {
	var rules []gitRule
	data = strings.TrimPrefix(data, "\ufeff")
	number := 0
	for line := range strings.SplitSeq(data, "\n") {
		number++
		if line == "" || line[0] == '#' {
			continue
		}
		line = strings.TrimSuffix(line, "\r")
		line, _, _ = strings.Cut(line, "\x00")
		rules = append(rules, parseGitRule(source, trimGitBlanks(line), number))
	}
	return rules
}

// trimGitBlanks drops the spaces at the end of a line, up to one that a backslash escapes.
func trimGitBlanks(line string) string {
	keep := 0
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			if i++; i == len(line) {
				return line
			}
			keep = i + 1
		} else if line[i] != ' ' {
			keep = i + 1
		}
	}
	return line[:keep]
}

func parseGitRule(source, line string, number int) gitRule {
	r := gitRule{Rule: Rule{Pattern: line, Source: source, Line: number}}
	line, r.Negated = strings.CutPrefix(line, "!")
	line, r.dirOnly = strings.CutSuffix(line, "/")
	r.nameOnly = !strings.Contains(line, "/")
	// Git compares up to the first wildcard and gives only the rest to its matcher, so that in "a**/b" the stars count as a whole component.
	line = strings.TrimPrefix(line, "/")
	plain := strings.IndexAny(line, `*?[\`)
	if plain < 0 {
		plain = len(line)
	}
	r.literal, r.rest = line[:plain], parseWildcard(line[plain:])
	return r
}

func (r *gitRule) match(path string, dir bool) bool {
	if r.dirOnly && !dir {
		return false
	}
	if r.nameOnly {
		path = path[strings.LastIndexByte(path, '/')+1:]
	}
	rest, ok := strings.CutPrefix(path, r.literal)
	return ok && r.rest.match(rest)
}
