package bundle

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/flowship/flowship/ignore"
)

// Explanation says whether a path is packed, and what decided.
type Explanation struct {
	Path     string
	Included bool
	// Reason is one of "include", "default exclusion", "hidden", "ignored", "negated",
	// "not matched", "always excluded".
	Reason string
	Rule   string // the deciding pattern
	Source string // where it stands: "--include[0]", ".prefectignore:3", or ""
	// Git is "ignored" or "kept" where git would decide otherwise about the same ignore files,
	// else "".
	Git string
}

// The reasons of explanations.
const (
	reasonInclude    = "include"
	reasonExclusion  = "default exclusion"
	reasonHidden     = "hidden"
	reasonIgnored    = "ignored"
	reasonNegated    = "negated"
	reasonNotMatched = "not matched"
	reasonAlways     = "always excluded"
)

// Explain says for each path, relative to base, why packing includes it or leaves it out.
func Explain(ctx context.Context, base string, include, paths []string, opts *CollectOptions) ([]Explanation, error) {
	s, err := newSelection(base)
	if err != nil {
		return nil, err
	}
	if err := s.selectAll(ctx, include); err != nil {
		return nil, err
	}
	ignores := &ignore.Ignores{}
	if s.selectsAny() { // as Collect does: else a broken ignore file does no harm
		if ignores, err = loadIgnores(s.base); err != nil {
			return nil, err
		}
	}
	source := map[string]picked{}
	if opts != nil && opts.Entrypoint != "" {
		if source, err = sourceFiles(s.base, opts.Entrypoint); err != nil {
			return nil, err
		}
	}
	explained := make([]Explanation, len(paths))
	for i, asked := range paths {
		e, err := s.explain(asked, ignores, source)
		if err != nil {
			return nil, err
		}
		explained[i] = e
	}
	return explained, nil
}

// explain answers for one path. A link is answered for by what it leads to, which is what
// would travel.
func (s *selection) explain(asked string, ignores *ignore.Ignores, source map[string]picked) (Explanation, error) {
	if err := checkText(asked); err != nil {
		return Explanation{}, err
	}
	rel := path.Clean(strings.ReplaceAll(asked, `\`, "/"))
	resolved, found, err := locate(s.base, joinPath(s.base, rel), asked)
	if err != nil {
		return Explanation{}, err
	}
	if found {
		rel, _ = within(s.base, resolved)
	}
	e := Explanation{Path: asked}
	if p, ok := source[path.Clean(strings.ReplaceAll(asked, `\`, "/"))]; ok {
		e.Included, e.Reason, e.Rule, e.Source = true, reasonInclude, p.why, "ENTRYPOINT"
		return e, nil
	}
	at, known := s.state[rel]
	switch {
	case known && at < 0:
		e.Reason, e.Rule, e.Source = reasonNegated, s.include[^at], s.sourceOf(^at)
	case !known:
		s.explainUnmatched(&e, rel)
	case ignore.AlwaysExcluded(rel):
		e.Reason, e.Rule = reasonAlways, alwaysExcludedRule
	default:
		e.Included, e.Reason, e.Rule, e.Source = true, reasonInclude, s.include[at], s.sourceOf(at)
		verdict := ignores.Match(rel)
		if verdict.Ignored {
			e.Included, e.Reason, e.Rule, e.Source = false, reasonIgnored, verdict.Rule.Pattern, verdict.Rule.String()
		}
		if e.Included {
			one := &Collection{Base: s.base}
			if err := one.fill(context.Background(), []picked{{rel: rel}}); err != nil {
				return Explanation{}, err // what packing would say
			}
		}
		if git := ignores.GitVerdict(rel); git.Ignored != verdict.Ignored {
			e.Git = "kept"
			if git.Ignored {
				e.Git = "ignored"
			}
		}
	}
	return e, nil
}

func (s *selection) sourceOf(i int) string { return fmt.Sprintf("--include[%d]", i) }

// explainUnmatched tells files that a pattern would select, were they not hidden or excluded
// by default, from files that no pattern asks for.
func (s *selection) explainUnmatched(e *Explanation, rel string) {
	e.Reason = reasonNotMatched
	for i, pattern := range s.include {
		below, ok := s.asksFor(pattern, rel)
		if !ok {
			continue
		}
		if ignore.Hidden(below) {
			e.Reason, e.Rule, e.Source = reasonHidden, pattern, s.sourceOf(i)
			return
		}
		if rule, out := ignore.DefaultExclusion(below); out {
			e.Reason, e.Rule, e.Source = reasonExclusion, rule, ""
			return
		}
	}
}

// asksFor reports whether the pattern covers rel before hidden names and default exclusions
// are left out, and the path that those are judged by.
func (s *selection) asksFor(pattern, rel string) (below string, ok bool) {
	switch {
	case strings.HasPrefix(pattern, "!"):
		return "", false
	case isGlob(pattern):
		rules, err := compile(pattern, pattern)
		return rel, err == nil && rules.Match(rel).Ignored
	}
	dir := path.Clean(strings.ReplaceAll(pattern, `\`, "/"))
	if dir == "." {
		return rel, true
	}
	return strings.CutPrefix(rel, dir+"/")
}
