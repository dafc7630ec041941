package ignore

import "strings"

// index finds the rules that can match a path by one segment that some component of the path must match. Each list holds the numbers of
// rules from the last to the first.
type index struct {
	names    map[string][]int // a literal segment
	exts     map[string][]int // *.ext, by ".ext"
	suffixes *[256][]int      // another suffix, by its last byte
	prefixes *[256][]int      // another prefix, by its first byte
	scan     []candidate      // none of these, or inexact: tried on every path that has its texts

	everything, belowByDir, belowByItself int // the last rule of each reach, or -1
}

// candidate is a rule that cannot be looked up.
type candidate struct {
	rule  int
	texts pairs
}

func newIndex(rules []rule) index {
	x := index{everything: -1, belowByDir: -1, belowByItself: -1}
	for i := len(rules) - 1; i >= 0; i-- {
		p := &rules[i].pattern
		switch {
		case p.reach == everything:
			x.everything = max(x.everything, i)
		case p.reach == belowByDir:
			x.belowByDir = max(x.belowByDir, i)
		case p.reach == belowByItself:
			x.belowByItself = max(x.belowByItself, i)
		case p.inexact || !x.file(i, p.key()):
			x.scan = append(x.scan, candidate{i, p.texts()})
		}
	}
	return x
}

// file enters rule i under the segment s, if one can look it up.
func (x *index) file(i int, s *segment) bool {
	switch {
	case s.kind == literal:
		if x.names == nil {
			x.names = make(map[string][]int)
		}
		x.names[s.prefix] = append(x.names[s.prefix], i)
	case s.isExtension():
		if x.exts == nil {
			x.exts = make(map[string][]int)
		}
		x.exts[s.suffix] = append(x.exts[s.suffix], i)
	case s.suffix != "":
		if x.suffixes == nil {
			x.suffixes = new([256][]int)
		}
		b := s.suffix[len(s.suffix)-1]
		x.suffixes[b] = append(x.suffixes[b], i)
	case s.prefix != "" && s.kind != infix:
		if x.prefixes == nil {
			x.prefixes = new([256][]int)
		}
		b := s.prefix[0]
		x.prefixes[b] = append(x.prefixes[b], i)
	default:
		return false
	}
	return true
}

// isExtension reports whether the suffix is all that follows the last dot.
func (s *segment) isExtension() bool {
	return s.suffix != "" && strings.LastIndexByte(s.suffix, '.') == 0
}

// key is the segment that the fewest components are likely to match.
func (p *pattern) key() *segment {
	best, bestWorth := &p.groups[0][0], -1
	for _, group := range p.groups {
		for i := range group {
			s := &group[i]
			worth := 0
			switch {
			case s.kind == literal:
				worth = 1000 + len(s.prefix)
			case s.isExtension():
				worth = 100 + len(s.suffix)
			case s.kind == affix || s.kind == general:
				worth = len(s.suffix) + len(s.prefix)
			}
			if worth > bestWorth {
				best, bestWorth = s, worth
			}
		}
	}
	return best
}

// ranking holds the last rule found of each rank, or -1.
type ranking struct{ whole, above int }

func (k *ranking) note(r rank, i int) {
	switch r {
	case matchWhole:
		k.whole = max(k.whole, i)
	case matchAbove:
		k.above = max(k.above, i)
	}
}

// search finds the deciding rule with the index. It takes the path apart from its components because regexp retains it: the components
// would leave the stack with it.
func (rs *Rules) search(path string, c components) ranking {
	x := &rs.index
	best := ranking{whole: x.everything, above: -1}
	n := c.len()
	if n > 1 {
		best.whole = max(best.whole, x.belowByItself)
		best.above = x.belowByDir
	}
	for i := range n {
		name := c.at(i)
		if x.names != nil {
			rs.try(x.names[name], c, i, &best)
		}
		if x.exts != nil {
			if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
				rs.try(x.exts[name[dot:]], c, i, &best)
			}
		}
		if x.suffixes != nil {
			rs.try(x.suffixes[name[len(name)-1]], c, i, &best)
		}
		if x.prefixes != nil {
			rs.try(x.prefixes[name[0]], c, i, &best)
		}
	}
	if len(x.scan) == 0 {
		return best
	}
	var have pairs
	have.addPath(path)
	for k := range x.scan {
		s := &x.scan[k]
		if s.rule <= best.whole {
			break
		}
		if !have.contains(&s.texts) {
			continue
		}
		if p := &rs.rules[s.rule].pattern; p.inexact {
			best.note(p.matchRegexp(path), s.rule)
		} else {
			best.note(p.match(c), s.rule)
		}
	}
	return best
}

// try matches the rules of a list, found by component at of c.
func (rs *Rules) try(list []int, c components, at int, best *ranking) {
	for _, i := range list {
		// A rule before the best match of the higher rank cannot change the decision, nor can those after it in the list.
		if i <= best.whole {
			return
		}
		p := &rs.rules[i].pattern
		if !p.lone {
			best.note(p.match(c), i)
		} else if p.groups[0][0].match(c.at(at)) {
			best.note(p.outcome(at+1, c.len()), i)
		}
	}
}

// searchRegexps finds the deciding rule without the index.
func (rs *Rules) searchRegexps(path string) ranking {
	best := ranking{whole: -1, above: -1}
	for i := len(rs.rules) - 1; i >= 0 && best.whole < 0; i-- {
		best.note(rs.rules[i].matchRegexp(path), i)
	}
	return best
}
