package bundle

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// VerifyOptions say what a bundle must agree with besides itself; nil asks for nothing more.
type VerifyOptions struct {
	// Digest, unless zero, is what the document must hash to, or the zip of a sidecar alone.
	Digest Digest
	// Against, unless "", is a directory. Packing it again must give the same files: those that
	// the document's include patterns select there or, for bundles that do not say, those
	// that the bundle holds.
	Against string
	// Lock, if not nil, is what the bundle must hold.
	Lock *Lock
	// Progress, if not nil, is told how many further bytes of content were read.
	Progress func(bytes int64)
}

// ProblemKind says what a [Problem] is about.
type ProblemKind string

// The kinds of problems.
const (
	ProblemMissing  ProblemKind = "missing"  // a file or the sidecar is not there
	ProblemExtra    ProblemKind = "extra"    // a file is there that should not be
	ProblemContent  ProblemKind = "content"  // a file's bytes differ, or cannot be read
	ProblemMode     ProblemKind = "mode"     // a file's permissions differ
	ProblemSize     ProblemKind = "size"     // a file's size differs
	ProblemDigest   ProblemKind = "digest"   // a digest of the whole differs
	ProblemDocument ProblemKind = "document" // the document is not what it must be
)

// Problem is one thing that does not verify.
type Problem struct {
	Kind   ProblemKind `json:"kind"`
	Path   string      `json:"path"`
	Detail string      `json:"detail"`
}

// Report is the outcome of a verification.
type Report struct {
	OK       bool      `json:"ok"`
	Problems []Problem `json:"problems"`
}

func (r *Report) add(kind ProblemKind, path, format string, args ...any) {
	r.Problems = append(r.Problems, Problem{Kind: kind, Path: path, Detail: fmt.Sprintf(format, args...)})
}

// addError reports what err says of the bundle. Errors that say nothing of it are returned.
func (r *Report) addError(kind ProblemKind, path string, err error) error {
	switch KindOf(err) {
	case KindTampered, KindRefused:
		r.add(kind, path, "%v", err)
		return nil
	}
	return err
}

// ReportOf turns what [Open] says of a bundle that is none into a report. Errors of another
// kind, such as a path that is not there, it returns.
func ReportOf(path string, err error) (*Report, error) {
	r := &Report{}
	if err := r.addError(ProblemDocument, path, err); err != nil {
		return nil, err
	}
	return r, nil
}

// Verify checks everything that can be checked, and reports all that is wrong: that document,
// table of contents and content of the sidecar agree to the byte, that the program is the one
// that the document names, and what opts ask for. An
// error means that it could not find out.
func (b *Bundle) Verify(ctx context.Context, opts *VerifyOptions) (*Report, error) {
	if opts == nil {
		opts = &VerifyOptions{}
	}
	r := &Report{Problems: []Problem{}}
	if b.Document != nil && !opts.Digest.IsZero() && opts.Digest != b.Digest {
		r.add(ProblemDigest, b.DocumentPath, "the document is %s, not %s", b.Digest, opts.Digest)
	}
	held, err := b.verifyArchive(ctx, r, opts)
	if err != nil {
		return nil, err
	}
	if err := b.verifyProgram(ctx, r); err != nil {
		return nil, err
	}
	if opts.Lock != nil {
		b.verifyLock(r, opts.Lock, held)
	}
	if opts.Against != "" && held != nil {
		if err := b.verifyAgainst(ctx, r, opts.Against, held); err != nil {
			return nil, err
		}
	}
	r.OK = len(r.Problems) == 0
	return r, nil
}

// verifyArchive returns the manifest that the bundle holds, or nil when that cannot be said.
func (b *Bundle) verifyArchive(ctx context.Context, r *Report, opts *VerifyOptions) (*Manifest, error) {
	if b.ArchivePath == "" {
		return &Manifest{Digest: newCanonical().sum()}, nil
	}
	name := b.ArchivePath
	if b.Document != nil {
		name = b.Document.FilesKey
	}
	a, err := openArchive(b.ArchivePath)
	if KindOf(err) == KindNotFound && b.Document != nil {
		r.add(ProblemMissing, name, "the sidecar is not there")
		return nil, nil
	}
	if err != nil {
		return nil, r.addError(ProblemContent, name, err)
	}
	defer a.Close()
	if err := b.verifyIdentity(ctx, r, a, name, opts.Digest); err != nil {
		return nil, err
	}
	held, err := a.scan(ctx, opts.Progress, func(entry string, err error) {
		r.add(ProblemContent, entry, "%v", err)
	})
	if err != nil {
		return nil, err
	}
	if want := b.wantedKey(); !want.IsZero() && want != held.Digest {
		r.add(ProblemDigest, name, "the files amount to %s", FilesKey(held.Digest))
	}
	if b.Document != nil && b.Document.Flowship != nil {
		r.compare(b.Document.Manifest(), held, "document", "sidecar")
	}
	return held, nil
}

// verifyIdentity checks the sidecar's own bytes.
func (b *Bundle) verifyIdentity(ctx context.Context, r *Report, a *archive, name string, digest Digest) error {
	id, err := a.identify(ctx)
	if err != nil {
		if err := r.addError(ProblemDigest, name, err); err != nil {
			return err
		}
	}
	var want Archive
	switch {
	case b.Document == nil && !digest.IsZero():
		want = Archive{SHA256: digest, Size: id.Size}
	case b.Document != nil && b.Document.Flowship != nil:
		want = *b.Document.Flowship.Archive
	default:
		return nil
	}
	if want.Size != id.Size {
		r.add(ProblemDigest, name, "the sidecar has %d bytes, not %d", id.Size, want.Size)
	} else if want.SHA256 != id.SHA256 {
		r.add(ProblemDigest, name, "the sidecar is %s, not %s", id.SHA256, want.SHA256)
	}
	return nil
}

// compare reports where got is not what want says.
func (r *Report) compare(want, got *Manifest, wanting, having string) {
	d := Diff(want, got)
	for _, e := range d.Removed {
		r.add(ProblemMissing, e.Path, "in the %s, not in the %s", wanting, having)
	}
	for _, e := range d.Added {
		r.add(ProblemExtra, e.Path, "in the %s, not in the %s", having, wanting)
	}
	for _, c := range d.Changed {
		if c.From.Mode != c.To.Mode {
			r.add(ProblemMode, c.Path, "mode %s in the %s, %s in the %s", c.From.Mode, wanting, c.To.Mode, having)
		}
		if c.From.Size != c.To.Size {
			r.add(ProblemSize, c.Path, "%d bytes in the %s, %d in the %s", c.From.Size, wanting, c.To.Size, having)
		} else if c.From.SHA256 != c.To.SHA256 && !c.To.SHA256.IsZero() {
			r.add(ProblemContent, c.Path, "%s in the %s, %s in the %s", c.From.SHA256, wanting, c.To.SHA256, having)
		}
	}
}

func (b *Bundle) verifyLock(r *Report, lock *Lock, held *Manifest) {
	if !lock.Document.IsZero() && b.Document != nil && lock.Document != b.Digest {
		r.add(ProblemDocument, b.DocumentPath, "the document is %s; the lock file has %s", b.Digest, lock.Document)
	}
	if held == nil {
		return
	}
	before := len(r.Problems)
	r.compare(lock.Manifest, held, "lock file", "bundle")
	if len(r.Problems) == before && lock.Manifest.Digest != held.Digest {
		r.add(ProblemDigest, "files", "the files amount to %s; the lock file has %s", held.Digest, lock.Manifest.Digest)
	}
}

func (b *Bundle) verifyAgainst(ctx context.Context, r *Report, dir string, held *Manifest) error {
	if info, err := os.Stat(dir); err != nil {
		return fileError(dir, err)
	} else if !info.IsDir() {
		return &Error{Kind: KindNotFound, Path: dir, Reason: "is not a directory"}
	}
	c, err := b.recollect(ctx, dir, held)
	if err != nil {
		return r.addDirectoryError(err)
	}
	now, err := Hash(ctx, c, nil)
	if err != nil {
		return r.addDirectoryError(err)
	}
	r.compare(held, now, "bundle", "directory")
	return nil
}

// addDirectoryError reports why the directory cannot be packed as the bundle was.
func (r *Report) addDirectoryError(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	kind := ProblemContent
	if e.Kind == KindNotFound {
		kind = ProblemMissing
	}
	r.add(kind, e.Path, "the directory cannot be packed: %v", err)
	return nil
}

// recollect selects in dir what the bundle was packed from.
func (b *Bundle) recollect(ctx context.Context, dir string, held *Manifest) (*Collection, error) {
	if b.Document != nil && b.Document.Flowship != nil && len(b.Document.Flowship.Include) > 0 {
		f := b.Document.Flowship
		opts := &CollectOptions{}
		if f.Source {
			opts.Entrypoint = f.Entrypoint
		}
		return Collect(ctx, dir, f.Include, opts)
	}
	s, err := newSelection(dir)
	if err != nil {
		return nil, err
	}
	c := &Collection{Base: s.base}
	var selected []picked
	for _, e := range held.Entries {
		path := joinNative(c.Base, e.Path)
		_, found, err := locate(c.Base, path, e.Path)
		if err != nil {
			return nil, err
		}
		if found { // else compare will say that it is missing
			selected = append(selected, picked{rel: e.Path})
		}
	}
	return c, c.fill(ctx, selected)
}
