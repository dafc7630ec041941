package bundle

import (
	"cmp"
	"slices"
)

// Difference is what changed from one manifest to another, each list sorted by path.
type Difference struct {
	Added   []Entry
	Removed []Entry
	Changed []Change
}

// Change is a file that is in both manifests, but not the same.
type Change struct {
	Path     string
	From, To Entry
}

// Empty reports whether the manifests were the same.
func (d *Difference) Empty() bool {
	return len(d.Added) == 0 && len(d.Removed) == 0 && len(d.Changed) == 0
}

// Diff compares two manifests by path, mode, size and content.
func Diff(from, to *Manifest) *Difference {
	d := &Difference{}
	old, new := byPath(from), byPath(to)
	for len(old) > 0 || len(new) > 0 {
		order := 0
		switch {
		case len(old) == 0:
			order = 1
		case len(new) == 0:
			order = -1
		default:
			order = cmp.Compare(old[0].Path, new[0].Path)
		}
		switch {
		case order < 0:
			d.Removed = append(d.Removed, old[0])
			old = old[1:]
		case order > 0:
			d.Added = append(d.Added, new[0])
			new = new[1:]
		default:
			if old[0] != new[0] {
				d.Changed = append(d.Changed, Change{Path: old[0].Path, From: old[0], To: new[0]})
			}
			old, new = old[1:], new[1:]
		}
	}
	return d
}

// byPath returns the entries sorted by path. Archives are, but for names that held a backslash.
func byPath(m *Manifest) []Entry {
	order := func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) }
	if slices.IsSortedFunc(m.Entries, order) {
		return m.Entries
	}
	sorted := slices.Clone(m.Entries)
	slices.SortFunc(sorted, order)
	return sorted
}
