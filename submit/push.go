package submit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
)

// UnverifiedError: a bundle does not verify, so nothing was done with it.
type UnverifiedError struct {
	Ref    string
	Report *bundle.Report
}

func (e *UnverifiedError) Error() string {
	more := ""
	if n := len(e.Report.Problems); n > 1 {
		more = fmt.Sprintf(", and %d more", n-1)
	}
	p := e.Report.Problems[0]
	return fmt.Sprintf("%q does not verify: %s: %s: %s%s", e.Ref, p.Kind, p.Path, p.Detail, more)
}

// Pushed is a bundle in a store.
type Pushed struct {
	URL           string // of the store
	Key           string // of the document
	FilesKey      string // of the sidecar; "" when no files travel
	Digest        bundle.Digest
	UploadedBytes int64
	ReusedBytes   int64 // of what was in the store
}

// PushKey returns the key under which [Client.Push] stores a document: the same document has the
// same key, which looks as those of submissions do.
func PushKey(digest bundle.Digest) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(digest.String())).String()
}

// TransferOptions are the options of [Client.Push] and [Client.Pull]; nil is the default.
type TransferOptions struct {
	// Progress, if not nil, is called when a step of known size begins, as in [Invocation].
	Progress func(step string, total int64) (add func(bytes int64), done func())
}

func (o *TransferOptions) progress(step string, total int64) (add func(int64), done func()) {
	if o == nil || o.Progress == nil {
		return nil, func() {}
	}
	return o.Progress(step, total)
}

// Push verifies the bundle at path and stores it: the sidecar and the program, then the document,
// each of them unless it is there. A bundle that does not verify is an *[UnverifiedError]; where
// something else has the sidecar's key, as another archive of the same files, it is
// storage.ErrConflict.
func (c *Client) Push(ctx context.Context, path, url string, opts *TransferOptions) (*Pushed, error) {
	b, err := bundle.Open(path)
	if err != nil {
		return nil, err
	}
	if b.Document == nil {
		return nil, fmt.Errorf("submit: %w", &InvalidError{fmt.Sprintf("%q is a sidecar alone: a bundle has a document", path)})
	}
	if err := verified(ctx, path, b, opts); err != nil {
		return nil, err
	}
	store, err := c.openStore(ctx, url)
	if err != nil {
		return nil, err
	}
	for range attempts {
		p := &push{bucket: store, opts: opts, pushed: Pushed{URL: store.URL(), Key: PushKey(b.Digest), FilesKey: b.Document.FilesKey, Digest: b.Digest}}
		lost, err := p.send(ctx, b)
		if err != nil {
			return nil, err
		}
		if !lost {
			return &p.pushed, nil
		}
	}
	return nil, fmt.Errorf("submit: %w: what was stored was deleted again, %d times", storage.ErrUnavailable, attempts)
}

// send stores what the document names and then the document. It reports whether some of it was
// deleted meanwhile.
func (p *push) send(ctx context.Context, b *bundle.Bundle) (lost bool, err error) {
	parts := partsOf(b)
	if b.ArchivePath != "" {
		want := bundle.Digest{}
		if f := b.Document.Flowship; f != nil {
			want = f.Archive.SHA256
		}
		if err := p.put(ctx, parts[b.ArchivePath], b.ArchivePath, want); err != nil {
			return false, err
		}
	}
	if b.ProgramPath != "" {
		digest, err := bundle.ParseProgramKey(parts[b.ProgramPath])
		if err != nil {
			return false, err
		}
		if err := p.put(ctx, parts[b.ProgramPath], b.ProgramPath, digest); err != nil {
			return false, err
		}
	}
	if err := p.put(ctx, p.pushed.Key, b.DocumentPath, b.Digest); err != nil {
		return false, err
	}
	for _, key := range parts {
		if ok, err := kept(ctx, p.Store, key); err != nil {
			return false, fmt.Errorf("submit: %w", err)
		} else if !ok {
			return true, nil
		}
	}
	return false, nil
}

// verified reads the whole bundle.
func verified(ctx context.Context, ref string, b *bundle.Bundle, opts *TransferOptions) error {
	total := int64(0)
	if b.Document != nil && b.Document.Manifest() != nil {
		total = b.Document.Manifest().TotalSize()
	}
	add, done := opts.progress("verify", total)
	defer done()
	report, err := b.Verify(ctx, &bundle.VerifyOptions{Progress: add})
	if err != nil {
		return err
	}
	if !report.OK {
		return &UnverifiedError{Ref: ref, Report: report}
	}
	return nil
}

type push struct {
	*bucket
	opts   *TransferOptions
	pushed Pushed
}

// put stores a file whose digest is known, or learned.
func (p *push) put(ctx context.Context, key, path string, digest bundle.Digest) error {
	what := &bundle.Archive{SHA256: digest}
	info, err := os.Stat(path)
	if err == nil {
		what.Size = info.Size()
		if digest.IsZero() {
			what, err = hashFile(ctx, path)
		}
	}
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	defer f.Close()
	add, done := p.opts.progress("upload", what.Size)
	defer done()
	from := &proven{r: f, h: sha256.New(), left: what.Size, want: what.SHA256}
	stored, err := p.Put(ctx, key, from, storage.PutOptions{Size: what.Size, SHA256: what.SHA256, Progress: add})
	if err == nil && !stored {
		// Where the store keeps no digest, the size alone was compared.
		var there *storage.Object
		if there, err = p.Identify(ctx, key); err == nil && there.SHA256 != what.SHA256 {
			err = fmt.Errorf("%q in %q: %w: its SHA-256 is %x, not %x", key, storage.Redact(p.URL()), storage.ErrConflict, there.SHA256, what.SHA256)
		}
	}
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if stored {
		p.pushed.UploadedBytes += what.Size
	} else {
		p.pushed.ReusedBytes += what.Size
	}
	return nil
}

// proven passes on a file, and fails at its end when its bytes are not the expected ones: then
// the store keeps nothing.
type proven struct {
	r    io.Reader
	h    hash.Hash
	left int64
	want bundle.Digest
}

func (p *proven) Read(buf []byte) (int, error) {
	n, err := p.r.Read(buf)
	p.h.Write(buf[:n])
	p.left -= int64(n)
	if p.left <= 0 && n > 0 && bundle.Digest(p.h.Sum(nil)) != p.want {
		return 0, errors.New("the file changed while it was sent")
	}
	return n, err
}

// Pull fetches the bundle that ref names, as for [Client.OpenBundle], verifies it and puts it into
// dir, which must be empty or not be there: bundle.json, and under their keys the sidecar and the
// program. Nothing appears there unless all of it is right; a bundle that does not verify is an
// *[UnverifiedError].
func (c *Client) Pull(ctx context.Context, ref, dir string, opts *TransferOptions) (_ *bundle.Bundle, err error) {
	at, err := c.locate(ctx, ref)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	switch entries, err := os.ReadDir(dir); {
	case err == nil && len(entries) > 0:
		return nil, &bundle.Error{Kind: bundle.KindConflict, Path: dir, Reason: "is not empty"}
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return nil, &bundle.Error{Kind: bundle.KindConflict, Path: dir, Reason: "is not a directory to pull into", Err: err}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return nil, &bundle.Error{Kind: bundle.KindUnavailable, Path: dir, Err: err}
	}
	staging, err := os.MkdirTemp(filepath.Dir(dir), ".flowship-")
	if err != nil {
		return nil, &bundle.Error{Kind: bundle.KindUnavailable, Path: dir, Err: err}
	}
	defer os.RemoveAll(staging) // what was renamed is not there
	var b *bundle.Bundle
	if at.path != "" {
		b, err = copyBundle(ctx, at.path, staging)
	} else {
		b, err = c.fetch(ctx, at, staging)
	}
	if err != nil {
		return nil, err
	}
	if b.Document == nil {
		return nil, fmt.Errorf("submit: %w", &InvalidError{fmt.Sprintf("%q is a sidecar alone: a bundle has a document", storage.Redact(ref))})
	}
	if err := verified(ctx, ref, b, opts); err != nil {
		return nil, err
	}
	if err := place(staging, dir); err != nil {
		return nil, &bundle.Error{Kind: bundle.KindUnavailable, Path: dir, Reason: "cannot be written", Err: err}
	}
	return bundle.Open(dir)
}

// place gives the finished directory its name.
func place(staging, dir string) error {
	if err := os.Chmod(staging, 0o755); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) { // it was empty
		return err
	}
	return os.Rename(staging, dir)
}

// copyBundle copies a bundle on the disk into an empty directory.
func copyBundle(ctx context.Context, path, dir string) (*bundle.Bundle, error) {
	b, err := bundle.Open(path)
	if err != nil || b.Document == nil {
		return b, err
	}
	files := partsOf(b)
	files[b.DocumentPath] = "bundle.json"
	for from, name := range files {
		to := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return nil, fmt.Errorf("submit: %w", err)
		}
		if err := copyFile(ctx, from, to); err != nil {
			return nil, &bundle.Error{Kind: bundle.KindNotFound, Path: from, Err: err}
		}
	}
	return bundle.Open(filepath.Join(dir, "bundle.json"))
}

func copyFile(ctx context.Context, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, bundle.ReaderWith(ctx, in))
	return errors.Join(err, out.Close())
}
