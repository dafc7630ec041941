package ignore

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// rank says how a pattern matched a path. Only the order matters.
type rank int

const (
	noMatch    rank = iota
	matchAbove      // through a directory above the path; pathspec's priority 1
	matchWhole      // the path itself or everything inside; pathspec's priority 2
)

// reach says what a pattern without segments of its own matches.
type reach int

const (
	bySegments    reach = iota
	everything          // *, **, /**
	belowByDir          // */, **/: everything but files of the root, as if through their directory
	belowByItself       // */**: the same, outright
)

// tail says what must follow the last segment of a pattern.
type tail int

const (
	open     tail = iota // nothing, or a slash and more
	dirSlash             // a slash: the pattern ends in one
	inside               // a slash: the pattern ends in /**
)

// pattern is one compiled line.
type pattern struct {
	negated  bool
	reach    reach
	floating bool        // may start at any component: a leading **
	groups   [][]segment // runs of segments; between two runs lies a **
	tail     tail
	lone     bool // a single segment that may lie at any depth, the commonest kind
	inexact  bool // a segment cannot be matched component by component
	regexp   func() *regexp.Regexp
}

// parsePattern compiles a line. effective is false for a line without a rule; reason is not empty for one that pathspec refuses.
func parsePattern(line string) (p pattern, effective bool, reason string) {
	// A line that ends in an escaped blank is kept whole, even if that blank follows two backslashes.
	if !strings.HasSuffix(line, `\ `) {
		line = strings.TrimRightFunc(line, isSpace)
	}
	if line == "" || line == "/" || line[0] == '#' {
		return pattern{}, false, ""
	}
	line, p.negated = strings.CutPrefix(line, "!")
	dir := line == "" || line[len(line)-1] == '/'

	names := strings.Split(line, "/")
	switch {
	case names[0] == "":
		names = names[1:]
	case (len(names) == 1 || len(names) == 2 && names[1] == "") && names[0] != "**":
		names = slices.Insert(names, 0, "**")
	}
	if len(names) == 0 {
		return pattern{}, false, `nothing after "!"`
	}
	if last := len(names) - 1; names[last] == "" {
		names[last] = "**"
	}
	names = slices.CompactFunc(names, func(a, b string) bool { return a == "**" && b == "**" })

	switch strings.Join(names, "/") {
	case "**":
		p.reach = everything
		if dir {
			p.reach = belowByDir
		}
		return p, true, ""
	case "**/*":
		p.reach = everything
		return p, true, ""
	case "**/*/**":
		p.reach = belowByItself
		if dir {
			p.reach = belowByDir
		}
		return p, true, ""
	}
	return p.parseSegments(names, dir)
}

func (p pattern) parseSegments(names []string, dir bool) (_ pattern, effective bool, reason string) {
	// Python meets the ranges last, when it compiles the expression; an unclosed bracket anywhere voids the line before that.
	badRange := ""
	all := make([]segment, 0, len(names))
	for _, name := range names {
		if name == "**" {
			all = append(all, segment{kind: anyDepth})
			continue
		}
		s, fault := parseSegment(name)
		switch fault {
		case unclosedBracket:
			return pattern{}, false, ""
		case danglingEscape:
			return pattern{}, false, "a backslash with nothing to escape"
		case reversedRange:
			badRange = "a character range that runs backwards"
		}
		p.inexact = p.inexact || s.inexact
		all = append(all, s)
	}
	if badRange != "" {
		return pattern{}, false, badRange
	}

	expr := expression(all, dir)
	p.regexp = sync.OnceValue(func() *regexp.Regexp {
		re, err := regexp.Compile(expr)
		if err != nil {
			return nil
		}
		return re
	})
	if p.inexact && p.regexp() == nil {
		return pattern{}, false, "too long"
	}

	if all[0].kind == anyDepth {
		p.floating, all = true, all[1:]
	}
	if last := len(all) - 1; all[last].kind == anyDepth {
		p.tail, all = inside, all[:last]
		if dir {
			p.tail = dirSlash
		}
	}
	for {
		i := slices.IndexFunc(all, func(s segment) bool { return s.kind == anyDepth })
		if i < 0 {
			p.groups = append(p.groups, all)
			p.lone = p.floating && len(p.groups) == 1 && len(all) == 1
			return p, true, ""
		}
		p.groups = append(p.groups, all[:i])
		all = all[i+1:]
	}
}

// outcome is the rank of a match that ends before component end of n.
func (p *pattern) outcome(end, n int) rank {
	switch {
	case end == n && p.tail == open, end < n && p.tail == inside:
		return matchWhole
	case end < n:
		return matchAbove
	}
	return noMatch
}

// match compares component by component. It is not for patterns that are inexact or have a reach.
func (p *pattern) match(c components) rank {
	n, pos := c.len(), 0
	for i, group := range p.groups {
		fixed := i == 0 && !p.floating
		if i < len(p.groups)-1 {
			at := find(group, c, pos, n-len(group), fixed)
			if at < 0 {
				return noMatch
			}
			pos = at + len(group)
			continue
		}
		limit := n - len(group)
		if p.tail != open {
			limit--
		} else if !fixed && limit >= pos && matchAt(group, c, limit) {
			return matchWhole
		}
		if at := find(group, c, pos, limit, fixed); at >= 0 {
			return p.outcome(at+len(group), n)
		}
	}
	return noMatch
}

// find returns the first position from pos to limit where the group matches, or -1. A fixed group matches at pos only.
func find(group []segment, c components, pos, limit int, fixed bool) int {
	for ; pos <= limit; pos++ {
		if matchAt(group, c, pos) {
			return pos
		}
		if fixed {
			break
		}
	}
	return -1
}

func matchAt(group []segment, c components, at int) bool {
	for i := range group {
		if !group[i].match(c.at(at + i)) {
			return false
		}
	}
	return true
}

func (p *pattern) canMatchBelow(dir components) bool {
	if p.reach != bySegments || p.floating {
		return true
	}
	for i := range p.groups[0] {
		s := &p.groups[0][i]
		if i == dir.len() || s.inexact {
			return true
		}
		if !s.match(dir.at(i)) {
			return false
		}
	}
	return true // dir is matched itself, or a ** begins
}
