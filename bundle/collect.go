package bundle

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path"
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
	native string // path below the base directory where it is not Path
	hashed string // name in the canonical digest where it is not Path
	seen   fingerprint
}

// below returns where the file lies below the base directory.
func (f *File) below() string { return cmp.Or(f.native, f.Path) }

// hashedName is the file's name in the canonical digest: Path, but for names with a backslash
// that make an unclean path.
func (f *File) hashedName() string { return cmp.Or(f.hashed, f.Path) }

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

	entrypoint string // as asked for, when its source was packed
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

// largeFile is the size in bytes above which Prefect warns of a file.
const largeFile = 10 << 20

// fill turns the selected paths into files: it looks at each, refuses what cannot be packed
// and puts them into the archive's order.
func (c *Collection) fill(ctx context.Context, selected []picked) error {
	slices.SortFunc(selected, func(a, b picked) int { return cmp.Compare(a.rel, b.rel) })
	c.Files = make([]File, len(selected))
	for i, p := range selected {
		f := &c.Files[i]
		f.Path, f.Why, f.native = p.rel, p.why, p.from
		if strings.Contains(p.rel, `\`) {
			f.native = cmp.Or(p.from, p.rel)
			// Prefect hashes the name with slashes, and its zip library tidies it further.
			f.hashed = strings.ReplaceAll(p.rel, `\`, "/")
			f.Path = strings.TrimLeft(path.Clean(f.hashed), "/")
		}
		if err := checkName(f.Path); err != nil {
			return renamed(err, p.rel)
		}
	}
	sensitive, err := c.look(ctx)
	if err != nil {
		return err
	}
	names := make(map[string]string)
	var large []string
	for i := range c.Files {
		f := &c.Files[i]
		if f.hashed != "" {
			names[f.Path] = f.below()
		}
		if rule := sensitive[i]; rule != "" {
			c.Sensitive = append(c.Sensitive, Sensitive{Path: f.below(), Rule: rule})
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

// look fills in mode, size and fingerprint of every file, and returns the rule of each whose
// name suggests secrets.
func (c *Collection) look(ctx context.Context) (sensitive []string, err error) {
	const batch = 512
	sensitive = make([]string, len(c.Files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for start := 0; start < len(c.Files); start += batch {
		g.Go(func() error {
			for i := start; i < min(start+batch, len(c.Files)); i++ {
				if err := c.statFile(i); err != nil {
					return err
				}
				sensitive[i], _ = ignore.Sensitive(c.Files[i].below())
			}
			return ctx.Err()
		})
	}
	return sensitive, g.Wait()
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
