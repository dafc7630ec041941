package ignore

// pairs is a set of pairs of adjacent bytes, and of single bytes, each standing for a few others: a Bloom filter. A path whose set lacks
// something in that of a rule's texts cannot match the rule.
type pairs [4]uint64

func (s *pairs) add(a, b byte) {
	h := (uint32(a)<<8 | uint32(b)) * 0x9e3779b1
	s[h>>30] |= 1 << (h >> 24 & 63)
}

// addText adds what every path that contains the text has.
func (s *pairs) addText(text string) {
	if len(text) == 1 {
		s.add(0, text[0])
	}
	for i := 1; i < len(text); i++ {
		s.add(text[i-1], text[i])
	}
}

func (s *pairs) addPath(path string) {
	last := byte(0)
	for i := 0; i < len(path); i++ {
		s.add(0, path[i])
		s.add(last, path[i])
		last = path[i]
	}
}

func (s *pairs) contains(t *pairs) bool {
	return t[0]&^s[0]|t[1]&^s[1]|t[2]&^s[2]|t[3]&^s[3] == 0
}

// texts are the pairs in all texts of the pattern.
func (p *pattern) texts() pairs {
	var s pairs
	for _, group := range p.groups {
		for i := range group {
			for _, t := range group[i].tokens {
				if t.kind == text {
					s.addText(t.text)
				}
			}
		}
	}
	return s
}
