package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flowship/flowship/ignore"
)

// picked is a selected file.
type picked struct {
	rel  string // its path below the base directory, and name
	why  string
	from string // the path to read it from, where it is a link that keeps its own name
}

// selection is the state of working through the patterns.
type selection struct {
	base     string
	walk     *walker
	include  []string
	order    []string       // collected paths below base, as first collected
	state    map[string]int // path → index of the pattern that selected it; ^index of the one that removed it
	warnings []string
}

func newSelection(base string) (*selection, error) {
	resolved, err := resolveNamed(base, true)
	if err != nil {
		return nil, asError(base, err)
	}
	if dir, err := statDir(resolved); err != nil {
		return nil, fileError(base, err)
	} else if !dir {
		return nil, &Error{Kind: KindNotFound, Path: base, Reason: "the base directory is not a directory"}
	}
	return &selection{base: resolved, walk: newWalker(), state: make(map[string]int)}, nil
}

func (s *selection) selectAll(ctx context.Context, include []string) error {
	s.include = include
	for i, pattern := range include {
		if err := ctx.Err(); err != nil {
			return err
		}
		if text, negated := strings.CutPrefix(pattern, "!"); negated {
			rules, err := compile(pattern, text)
			if err != nil {
				return err
			}
			for rel, at := range s.state {
				if at >= 0 && rules.Match(rel).Ignored {
					s.state[rel] = ^i
				}
			}
			continue
		}
		found := 0
		err := s.selectOne(ctx, pattern, func(rel string) {
			found++
			at, known := s.state[rel]
			if !known {
				s.order = append(s.order, rel)
			}
			if !known || at < 0 {
				s.state[rel] = i
			}
		})
		if err != nil {
			return err
		}
		if found == 0 {
			s.warnings = append(s.warnings, fmt.Sprintf("Pattern '%s' matched no files", pattern))
		}
	}
	return nil
}

// selectOne calls add for each file that an including pattern selects, with its path below base.
func (s *selection) selectOne(ctx context.Context, pattern string, add func(rel string)) error {
	if isGlob(pattern) {
		rules, err := compile(pattern, pattern)
		if err != nil {
			return err
		}
		return s.walk.files(ctx, s.base, s.base, rules.CanMatchBelow, func(rel string) bool { return rules.Match(rel).Ignored }, s.adder(s.base, add))
	}
	named := strings.ReplaceAll(strings.TrimRight(pattern, "/"), `\`, "/")
	dir := joinPath(s.base, named)
	isDir := false
	if !strings.ContainsRune(named, 0) {
		var err error
		if isDir, err = statDir(dir); err != nil {
			return fileError(pattern, err)
		}
	}
	if isDir {
		if err := checkText(named); err != nil {
			return renamed(err, pattern)
		}
		// Prefect walks the lexically cleaned directory but names its files physically.
		return s.walk.files(ctx, s.base, filepath.ToSlash(filepath.Clean(dir)), nil, nil, s.adder(dir, add))
	}
	if err := checkText(pattern); err != nil {
		return err
	}
	resolved, found, err := locate(s.base, joinPath(s.base, strings.ReplaceAll(pattern, `\`, "/")), pattern)
	if err != nil || !found {
		return err
	}
	rel, _ := within(s.base, resolved)
	add(rel)
	return nil
}

// adder turns the walk's files into paths below base. Only what a link is involved in needs a
// look at the file system.
func (s *selection) adder(dir string, add func(rel string)) func(rel string, linked bool) error {
	prefix, inside := within(s.base, dir)
	plain := inside
	if inside && prefix != "." {
		for p := dir; p != s.base && plain; p = parentPath(p) {
			linked, err := isLink(p)
			plain = err == nil && !linked && !strings.HasSuffix(p, "/..")
		}
	}
	return func(rel string, linked bool) error {
		if plain && !linked {
			if prefix != "." {
				rel = prefix + "/" + rel
			}
			add(rel)
			return nil
		}
		path := joinPath(dir, rel)
		resolved, found, err := locate(s.base, path, path)
		if err != nil || !found {
			return err
		}
		rel, _ = within(s.base, resolved)
		add(rel)
		return nil
	}
}

// isGlob reports whether a pattern is one by Prefect's rule, which looks at nothing but these
// three characters.
func isGlob(pattern string) bool { return strings.ContainsAny(pattern, "*?[") }

func compile(pattern, text string) (*ignore.Rules, error) {
	rules, err := ignore.Compile("", []string{text})
	if err != nil {
		reason := err.Error()
		var pe *ignore.PatternError
		if errors.As(err, &pe) {
			reason = pe.Reason
		}
		return nil, &Error{Kind: KindInvalidPattern, Path: pattern, Reason: reason, Err: nil}
	}
	return rules, nil
}

func renamed(err error, path string) error {
	var e *Error
	if errors.As(err, &e) {
		e.Path = path
	}
	return err
}

// filter applies the ignore files and reports what they took out.
func (s *selection) filter(c *Collection) ([]picked, error) {
	var rels []string
	for _, rel := range s.order {
		if s.state[rel] >= 0 {
			rels = append(rels, rel)
		}
	}
	if len(rels) == 0 {
		return nil, nil // Prefect does not read the ignore files then, so a broken one does no harm
	}
	slices.Sort(rels)
	ignores, err := loadIgnores(s.base)
	if err != nil {
		return nil, err
	}
	selected := make([]picked, 0, len(rels))
	for _, rel := range rels {
		if ignore.AlwaysExcluded(rel) {
			c.Excluded = append(c.Excluded, Excluded{Path: rel, Rule: alwaysExcludedRule})
			continue
		}
		if v := ignores.Match(rel); v.Ignored {
			c.Excluded = append(c.Excluded, Excluded{Path: rel, Rule: v.Rule.Pattern, Source: v.Rule.String(), Explicit: s.explicit(rel)})
			continue
		}
		selected = append(selected, picked{rel: rel, why: s.include[s.state[rel]]})
	}
	return selected, nil
}

// selectsAny reports whether any file is selected, ignore files aside.
func (s *selection) selectsAny() bool {
	for _, at := range s.state {
		if at >= 0 {
			return true
		}
	}
	return false
}

const alwaysExcludedRule = ".prefectignore"

// explicit reports whether a pattern names this very file.
func (s *selection) explicit(rel string) bool {
	for _, p := range s.include {
		if p == rel || strings.HasSuffix(rel, "/"+p) {
			return true
		}
	}
	return false
}

func loadIgnores(base string) (*ignore.Ignores, error) {
	ignores, err := ignore.Load(base)
	if err == nil {
		return ignores, nil
	}
	var pe *ignore.PatternError
	if errors.As(err, &pe) {
		return nil, &Error{Kind: KindInvalidPattern, Path: pe.Pattern, Reason: fmt.Sprintf("%s:%d: %s", pe.Source, pe.Line, pe.Reason)}
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return nil, fileError(path.Path, err)
	}
	return nil, &Error{Kind: KindUnreadable, Path: ".prefectignore", Err: err}
}
