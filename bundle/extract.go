package bundle

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/sync/errgroup"
)

// ExtractOptions are the options of [Bundle.Extract]; nil is the default.
type ExtractOptions struct {
	// Digest, unless zero, is what the document must hash to, or the zip of a sidecar alone.
	Digest Digest
	// Progress, if not nil, is told how many further bytes were extracted. Calls may overlap.
	Progress func(bytes int64)
	// Warn, if not nil, is told of existing files that are overwritten.
	Warn func(text string)
}

// Extract verifies the bundle and puts its files below dir, which may exist, with their modes.
//
// Nothing appears below dir before all of it was read, verified and written to a staging
// directory beside it (or in it, where it exists already); on any error the staging directory
// is removed. An entry that exists as a file is overwritten, as Prefect does; one that exists
// as something else, or would be reached through a link that leaves dir, is refused.
func (b *Bundle) Extract(ctx context.Context, dir string, opts *ExtractOptions) (*Manifest, error) {
	if opts == nil {
		opts = &ExtractOptions{}
	}
	if b.Document != nil && !opts.Digest.IsZero() && opts.Digest != b.Digest {
		return nil, &Error{Kind: KindTampered, Path: b.DocumentPath, Reason: fmt.Sprintf("the document is %s, not %s", b.Digest, opts.Digest)}
	}
	if b.ArchivePath == "" {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, writeError(dir, err)
		}
		return &Manifest{}, nil
	}
	a, err := openArchive(b.ArchivePath)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	if err := b.trust(ctx, a, opts.Digest); err != nil {
		return nil, err
	}
	x := &extraction{bundle: b, archive: a, opts: opts}
	return x.into(ctx, dir)
}

// trust refuses a sidecar that is not the one the document describes.
func (b *Bundle) trust(ctx context.Context, a *archive, digest Digest) error {
	r := &Report{}
	if err := b.verifyIdentity(ctx, r, a, b.ArchivePath, digest); err != nil {
		return err
	}
	if b.Document != nil && b.Document.Flowship != nil {
		listed := &Manifest{}
		for _, e := range a.entries {
			listed.Entries = append(listed.Entries, a.entry(e))
		}
		r.compare(b.Document.Manifest(), listed, "document", "sidecar") // content is compared on the way
	}
	if len(r.Problems) == 0 {
		return nil
	}
	p := r.Problems[0]
	return &Error{Kind: KindTampered, Path: p.Path, Reason: p.Detail}
}

type extraction struct {
	bundle  *Bundle
	archive *archive
	opts    *ExtractOptions
	held    *Manifest
}

// into extracts to dir by way of a staging directory on the same file system.
func (x *extraction) into(ctx context.Context, dir string) (_ *Manifest, err error) {
	dir = filepath.Clean(dir)
	exists := true
	if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		exists = false
	} else if err != nil {
		return nil, fileError(dir, err)
	} else if !info.IsDir() {
		return nil, &Error{Kind: KindConflict, Path: dir, Reason: "is not a directory"}
	}
	beside := dir
	if !exists {
		beside = filepath.Dir(dir)
		if err := os.MkdirAll(beside, 0o777); err != nil {
			return nil, writeError(beside, err)
		}
	}
	root, err := os.OpenRoot(beside)
	if err != nil {
		return nil, fileError(beside, err)
	}
	defer root.Close()
	if exists && !isEmpty(dir) {
		if err := x.checkTargets(root); err != nil {
			return nil, err
		}
	}
	staging := temporaryName(beside)
	if err := os.Mkdir(staging, 0o777); err != nil {
		return nil, writeError(beside, err)
	}
	defer os.RemoveAll(staging)
	if folds(staging) {
		if err := x.checkFolding(); err != nil {
			return nil, err
		}
	}
	if err := x.stage(ctx, staging); err != nil {
		return nil, err
	}
	if !exists {
		if err := os.Rename(staging, dir); err != nil {
			return nil, writeError(dir, err)
		}
		return x.held, nil
	}
	p := &placing{root: root, replaced: temporaryName(".")}
	defer root.RemoveAll(p.replaced)
	if err := p.place(filepath.Base(staging), "."); err != nil {
		return nil, errors.Join(err, p.undo())
	}
	return x.held, nil
}

// checkTargets refuses what could not be put in place, before anything is written.
func (x *extraction) checkTargets(root *os.Root) error {
	for _, e := range x.archive.entries {
		parts := strings.Split(e.Name, "/")
		for i := range parts {
			name := strings.Join(parts[:i+1], "/")
			info, err := root.Stat(filepath.FromSlash(name))
			if errors.Is(err, fs.ErrNotExist) {
				if link, lerr := root.Lstat(filepath.FromSlash(name)); lerr == nil && link.Mode()&fs.ModeSymlink != 0 && i+1 < len(parts) {
					return &Error{Kind: KindRefused, Path: e.Name, Reason: fmt.Sprintf("%q is a link that leads nowhere", name)}
				}
				break
			}
			if err != nil {
				return &Error{Kind: KindRefused, Path: e.Name, Reason: fmt.Sprintf("%q leads out of the directory", name), Err: err}
			}
			last := i+1 == len(parts)
			switch {
			case last && info.IsDir():
				return &Error{Kind: KindConflict, Path: e.Name, Reason: "exists as a directory"}
			case !last && !info.IsDir():
				return &Error{Kind: KindConflict, Path: e.Name, Reason: fmt.Sprintf("%q exists as a file", name)}
			case last && x.opts.Warn != nil:
				x.opts.Warn("Overwriting existing file: " + e.Name)
			}
		}
	}
	return nil
}

func isEmpty(dir string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	_, err = d.Readdirnames(1)
	return errors.Is(err, io.EOF)
}

// folds reports whether the file system takes "a" and "A" for one name.
func folds(staging string) bool {
	probe := filepath.Join(staging, "Case")
	if os.Mkdir(probe, 0o777) != nil {
		return false
	}
	defer os.Remove(probe)
	_, err := os.Lstat(filepath.Join(staging, "cASE"))
	return err == nil
}

func (x *extraction) checkFolding() error {
	names := make(map[string]bool, len(x.archive.entries))
	for _, e := range x.archive.entries {
		if err := addName(names, foldName(e.Name)); err != nil {
			return &Error{Kind: KindRefused, Path: e.Name, Reason: "differs from another entry only in case, which this file system does not tell apart"}
		}
	}
	return nil
}

// foldName maps names that differ only in case to one.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, name)
}

// stage writes all entries below staging, verified.
func (x *extraction) stage(ctx context.Context, staging string) error {
	if err := x.makeDirs(staging); err != nil {
		return err
	}
	want := x.wanted()
	x.held = &Manifest{Entries: make([]Entry, len(x.archive.entries))}
	if want == nil {
		return x.stageInOrder(ctx, staging)
	}
	x.held.Digest = x.bundle.wantedKey()
	g, ctx := errgroup.WithContext(ctx)
	const batch = 64
	g.SetLimit(min(runtime.GOMAXPROCS(0), 8))
	for start := 0; start < len(x.archive.entries); start += batch {
		g.Go(func() error {
			buf := make([]byte, copyBuffer)
			for i := start; i < min(start+batch, len(x.archive.entries)); i++ {
				e := x.archive.entries[i]
				got, err := x.write(ctx, staging, e, io.Discard, buf)
				if err != nil {
					return err
				}
				if got.SHA256 != want[e.Name] {
					return &Error{Kind: KindTampered, Path: e.Name, Reason: fmt.Sprintf("its content is %s, not %s", got.SHA256, want[e.Name])}
				}
				x.held.Entries[i] = got
			}
			return nil
		})
	}
	return g.Wait()
}

// stageInOrder serves bundles without a list of digests: all content together must amount to
// the sidecar's key.
func (x *extraction) stageInOrder(ctx context.Context, staging string) error {
	total := newCanonical()
	buf := make([]byte, copyBuffer)
	for i, e := range x.archive.entries {
		entry := x.archive.entry(e)
		total.file(hashedName(e), entry.Mode, entry.Size)
		var err error
		if x.held.Entries[i], err = x.write(ctx, staging, e, total, buf); err != nil {
			return err
		}
	}
	x.held.Digest = total.sum()
	if want := x.bundle.wantedKey(); !want.IsZero() && want != x.held.Digest {
		return &Error{Kind: KindTampered, Path: x.archive.path, Reason: "the files amount to " + FilesKey(x.held.Digest)}
	}
	return nil
}

// wanted returns each entry's digest, or nil when the bundle does not say.
func (x *extraction) wanted() map[string]Digest {
	if x.bundle.Document == nil || x.bundle.Document.Flowship == nil {
		return nil
	}
	want := make(map[string]Digest, len(x.archive.entries))
	for _, e := range x.bundle.Document.Flowship.Files {
		want[e.Path] = e.SHA256
	}
	return want
}

func (x *extraction) makeDirs(staging string) error {
	var dirs []string
	for _, e := range x.archive.entries {
		if dir := path.Dir(e.Name); dir != "." && (len(dirs) == 0 || dirs[len(dirs)-1] != dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		full := filepath.Join(staging, filepath.FromSlash(dir))
		if err := os.MkdirAll(full, 0o777); err != nil {
			return writeError(dir, err)
		}
	}
	return nil
}

// write extracts one entry into the staging directory and into also.
func (x *extraction) write(ctx context.Context, staging string, e *zip.File, also io.Writer, buf []byte) (Entry, error) {
	entry := x.archive.entry(e)
	f, err := os.OpenFile(filepath.Join(staging, filepath.FromSlash(e.Name)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Entry{}, writeError(e.Name, err)
	}
	defer f.Close()
	if entry.SHA256, err = x.archive.copyEntry(ctx, e, io.MultiWriter(f, also), buf); err != nil {
		return Entry{}, writeError(e.Name, err)
	}
	if err := f.Chmod(fileMode(entry.Mode)); err != nil {
		return Entry{}, writeError(e.Name, err)
	}
	if err := f.Close(); err != nil {
		return Entry{}, writeError(e.Name, err)
	}
	if x.opts.Progress != nil {
		x.opts.Progress(entry.Size)
	}
	return entry, nil
}

// fileMode translates Unix permission bits to Go's.
func fileMode(m Mode) fs.FileMode {
	mode := fs.FileMode(m.Perm() & 0o777)
	for _, bit := range []struct {
		unix Mode
		mode fs.FileMode
	}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}} {
		if m&bit.unix != 0 {
			mode |= bit.mode
		}
	}
	return mode
}
