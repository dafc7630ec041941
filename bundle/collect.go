package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/flowship/flowship/ignore"
)

// CollectOptions are the options of [Collect]; nil is the default.
type CollectOptions struct {
	// Entrypoint is a python entrypoint, "flow.py:main", relative to the base directory. Its
	// file and the local modules that it imports are packed too. "" packs only what the
	// patterns select.
	Entrypoint string
}

// File is one collected file.
type File struct {
	Entry         // SHA256 is known only after [Hash] or [Pack]
	Why    string // the pattern that selected it, "entrypoint", or "import of flow.py:3"
	native string // path below the base directory where it is not Path (names with a backslash)
	seen   fingerprint
}

// below returns where the file lies below the base directory.
func (f *File) below() string {
	if f.native != "" {
		return f.native
	}
	return f.Path
}

// hashedName is the file's name in the canonical digest: Path, but for names with a backslash
// that make an unclean path.
func (f *File) hashedName() string { return strings.ReplaceAll(f.below(), `\`, "/") }

// fingerprint is what tells an unchanged file without reading it.
type fingerprint struct {
	mode         Mode
	size         int64
	mtime, ctime int64 // nanoseconds since 1970
	ino, dev     uint64
}

// Excluded is a file that a pattern collected and an ignore file then took out.
type Excluded struct {
	Path     string
	Rule     string
	Source   string // ".prefectignore:3"; "" for .prefectignore files themselves, which never travel
	Explicit bool   // a pattern named exactly this file
}

// Sensitive is a packed file whose name suggests that it holds secrets.
type Sensitive struct{ Path, Rule string }

// Collection is the answer to which files a bundle holds, and why.
type Collection struct {
	Base      string // resolved base directory
	Include   []string
	Files     []File // in the order of the archive
	Excluded  []Excluded
	Sensitive []Sensitive
	Warnings  []string // "Pattern 'x' matched no files", as Prefect words it, in order
	Notes     []string // what a person may want to know and Prefect does not report

	entrypoint string
}

// TotalSize returns the sum of the files' sizes in bytes.
func (c *Collection) TotalSize() int64 {
	var n int64
	for i := range c.Files {
		n += c.Files[i].Size
	}
	return n
}

// path returns where file i is read from.
func (c *Collection) path(i int) string { return joinNative(c.Base, c.Files[i].below()) }

func joinNative(base, rel string) string {
	return strings.TrimSuffix(base, "/") + "/" + rel
}

// Collect selects the files below base that the include patterns name, exactly as Prefect
// 3.8.8 does (FORMAT.md, "Which files"): patterns are processed in order, "!" removes from what
// was collected so far, .prefectignore files have the last word.
//
// Errors are *[Error] values: of the pattern's text (empty, whitespace, null_byte, absolute),
// invalid_pattern, traversal, symlink_loop, unreadable, refused (a pipe, a device, a name that
// is not UTF-8), or not_found for the base directory and the entrypoint's file.
func Collect(ctx context.Context, base string, include []string, opts *CollectOptions) (*Collection, error) {
	s, err := newSelection(base)
	if err != nil {
		return nil, err
	}
	if err := s.selectAll(ctx, include); err != nil {
		return nil, err
	}
	c := &Collection{Base: s.base, Include: include, Warnings: s.warnings, Notes: s.walk.notes}
	selected, err := s.filter(c)
	if err != nil {
		return nil, err
	}
	if opts != nil && opts.Entrypoint != "" {
		c.entrypoint = opts.Entrypoint
		if selected, err = addSource(c, selected, opts.Entrypoint); err != nil {
			return nil, err
		}
	}
	s = nil // the walk's listings are no longer needed: they may be larger than the result
	if err := c.fill(ctx, selected); err != nil {
		return nil, err
	}
	return c, nil
}

// picked is a selected file: its path below base and the reason.
type picked struct{ rel, why string }

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
	abs, err := filepath.Abs(base)
	if err != nil {
		return nil, fileError(base, err)
	}
	abs = filepath.ToSlash(abs)
	resolved, err := resolve(abs, true)
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

// largeFile is the size in bytes above which Prefect warns of a file.
const largeFile = 10 << 20

// fill turns the selected paths into files: it looks at each, refuses what cannot be packed
// and puts them into the archive's order.
func (c *Collection) fill(ctx context.Context, selected []picked) error {
	slices.SortFunc(selected, func(a, b picked) int { return cmp.Compare(a.rel, b.rel) })
	c.Files = make([]File, len(selected))
	for i, p := range selected {
		f := &c.Files[i]
		f.Path, f.Why = p.rel, p.why
		if strings.Contains(p.rel, `\`) {
			f.native = p.rel
			// Prefect hashes the name with slashes, and its zip library tidies it further.
			f.Path = strings.TrimLeft(path.Clean(f.hashedName()), "/")
		}
		if err := checkName(f.Path); err != nil {
			return renamed(err, p.rel)
		}
	}
	if err := c.stat(ctx); err != nil {
		return err
	}
	names := make(map[string]string)
	var large []string
	for i := range c.Files {
		f := &c.Files[i]
		if f.native != "" || i > 0 && c.Files[i-1].Path == f.Path {
			names[f.Path] = f.below()
		}
		if rule, ok := ignore.Sensitive(f.below()); ok {
			c.Sensitive = append(c.Sensitive, Sensitive{Path: f.Path, Rule: rule})
		}
		if f.Size > largeFile {
			large = append(large, fmt.Sprintf("%s (%.1f MB)", f.Path, float64(f.Size)/(1<<20)))
		}
	}
	// Only a name that held a backslash can meet another one.
	for i := range c.Files {
		f := &c.Files[i]
		if other, ok := names[f.Path]; ok && other != f.below() {
			return &Error{Kind: KindRefused, Path: f.below(), Reason: fmt.Sprintf("would get the same name in the archive as %q", other)}
		}
	}
	if len(large) > 0 {
		c.Notes = append(c.Notes, largeNote(large))
	}
	return nil
}

func largeNote(large []string) string {
	const most = 5
	shown := strings.Join(large[:min(most, len(large))], ", ")
	if len(large) == 1 {
		return "large file: " + shown
	}
	if len(large) > most {
		shown += fmt.Sprintf(" and %d more", len(large)-most)
	}
	return fmt.Sprintf("%d large files: %s", len(large), shown)
}

// stat fills in mode, size and fingerprint of every file.
func (c *Collection) stat(ctx context.Context) error {
	const batch = 512
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for start := 0; start < len(c.Files); start += batch {
		g.Go(func() error {
			for i := start; i < min(start+batch, len(c.Files)); i++ {
				if err := c.statFile(i); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

func (c *Collection) statFile(i int) error {
	f := &c.Files[i]
	seen, kind, err := lstat(c.path(i))
	if err != nil {
		return fileError(f.below(), err)
	}
	if kind != 0 {
		return &Error{Kind: KindRefused, Path: f.below(), Reason: fmt.Sprintf("is %s; only regular files can be packed", describe(kind))}
	}
	f.seen, f.Mode, f.Size = seen, seen.mode, seen.size
	return nil
}

func describe(kind fs.FileMode) string {
	switch {
	case kind&fs.ModeDir != 0:
		return "a directory"
	case kind&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case kind&fs.ModeSocket != 0:
		return "a socket"
	case kind&fs.ModeSymlink != 0:
		return "a symbolic link"
	}
	return "a device"
}
