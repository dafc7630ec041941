package submit

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
)

// Contents is what a bundle says of itself. Nothing of it was verified.
type Contents struct {
	Document    *bundle.Document // nil for a sidecar alone
	Digest      bundle.Digest    // of the document
	Where       string           // of the document: a path or a reference; "" for a sidecar alone
	ArchiveSize int64            // bytes; 0 when no files travel

	// Manifest is what it holds. Where only the table of contents of a sidecar was read, what
	// the files hash to is not known: their digests are zero.
	Manifest *bundle.Manifest
	// Listing is that table of contents, else nil.
	Listing *bundle.Listing
}

// Contents returns what the bundle that ref names says of itself, as for [Client.OpenBundle]. In
// a store, only the document is read or, for a sidecar that no document of flowship's describes,
// its table of contents.
func (c *Client) Contents(ctx context.Context, ref string) (*Contents, error) {
	at, err := c.locate(ctx, ref)
	if err != nil {
		return nil, err
	}
	if at.path != "" {
		b, err := bundle.Open(at.path)
		if err != nil {
			return nil, err
		}
		return ContentsOf(ctx, b)
	}
	store, err := c.openStored(ctx, at.url)
	if err != nil {
		return nil, missing(ref, err)
	}
	defer store.Close()
	contents, err := readContents(ctx, store, at)
	if err != nil {
		return nil, missing(ref, err)
	}
	return contents, nil
}

// ContentsOf returns what a bundle on the disk says of itself.
func ContentsOf(ctx context.Context, b *bundle.Bundle) (*Contents, error) {
	m, err := b.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	c := &Contents{Document: b.Document, Digest: b.Digest, Where: b.DocumentPath, Manifest: m}
	if b.ArchivePath != "" {
		info, err := os.Stat(b.ArchivePath)
		if err != nil {
			return nil, &bundle.Error{Kind: bundle.KindNotFound, Path: b.ArchivePath, Err: err}
		}
		c.ArchiveSize = info.Size()
	}
	return c, nil
}

func readContents(ctx context.Context, store *storage.Store, at *located) (*Contents, error) {
	r, err := store.ReaderAt(ctx, at.key, nil)
	if err != nil {
		return nil, err
	}
	start := make([]byte, 2)
	if _, err := r.ReadAt(start, 0); err != nil && err != io.EOF {
		return nil, err
	}
	if _, err := bundle.ParseFilesKey(at.key); err == nil || string(start) == "PK" {
		c := &Contents{}
		return c, c.list(r, at.key)
	}
	c := &Contents{Where: at.ref}
	if c.Document, c.Digest, err = readDocument(r); err != nil {
		return nil, fmt.Errorf("%q: %w", at.ref, err)
	}
	if !at.digest.IsZero() && c.Digest != at.digest {
		return nil, &bundle.Error{Kind: bundle.KindTampered, Path: at.ref, Reason: "the stored document is not the one that was submitted"}
	}
	if c.Manifest = c.Document.Manifest(); c.Manifest == nil {
		c.Manifest = &bundle.Manifest{}
	}
	switch key := c.Document.FilesKey; {
	case key == "":
		return c, nil
	case c.Document.Manifest() != nil:
		o, err := store.Stat(ctx, key)
		if err != nil {
			return nil, err
		}
		c.ArchiveSize = o.Size
		return c, nil
	default:
		if r, err = store.ReaderAt(ctx, key, nil); err != nil {
			return nil, err
		}
		return c, c.list(r, key)
	}
}

// readDocument reads a document to its end. An error of the store is returned as it is.
func readDocument(r *storage.ReaderAt) (*bundle.Document, bundle.Digest, error) {
	h := sha256.New()
	from := &failing{r: io.NewSectionReader(r, 0, r.Size())}
	d, err := bundle.ReadDocument(io.TeeReader(from, h))
	if from.err != nil {
		err = from.err
	}
	if err != nil {
		return nil, bundle.Digest{}, err
	}
	return d, bundle.Digest(h.Sum(nil)), nil
}

// failing remembers why reading failed, which a parser takes for an error of the text.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// list takes the manifest from a sidecar's table of contents.
func (c *Contents) list(r *storage.ReaderAt, key string) (err error) {
	if c.Listing, err = bundle.List(r, r.Size(), key); err != nil {
		return err
	}
	c.ArchiveSize, c.Manifest = r.Size(), &bundle.Manifest{Entries: c.Listing.Entries}
	c.Manifest.Digest, _ = bundle.ParseFilesKey(key) // another name says nothing
	return nil
}

// Diff compares the files of two bundles. Sidecars of which only the tables of contents are read
// are compared by their checksums; one that is compared with a document is fetched.
func (c *Client) Diff(ctx context.Context, from, to string) (*bundle.Difference, error) {
	refs := [2]string{from, to}
	var sides [2]*Contents
	for i, ref := range refs {
		var err error
		if sides[i], err = c.Contents(ctx, ref); err != nil {
			return nil, err
		}
	}
	if sides[0].Listing != nil && sides[1].Listing != nil {
		return bundle.DiffListings(sides[0].Listing, sides[1].Listing), nil
	}
	for i := range sides {
		if sides[i].Listing != nil {
			if err := c.fetchManifest(ctx, refs[i], sides[i]); err != nil {
				return nil, err
			}
		}
	}
	return bundle.Diff(sides[0].Manifest, sides[1].Manifest), nil
}

func (c *Client) fetchManifest(ctx context.Context, ref string, contents *Contents) error {
	b, cleanup, err := c.OpenBundle(ctx, ref)
	if err != nil {
		return err
	}
	defer cleanup()
	contents.Manifest, err = b.Manifest(ctx)
	return err
}

// DiffPaths compares the files of two bundles on the disk.
func DiffPaths(ctx context.Context, from, to string) (*bundle.Difference, error) {
	var sides [2]*Contents
	for i, path := range []string{from, to} {
		b, err := bundle.Open(path)
		if err != nil {
			return nil, err
		}
		if sides[i], err = ContentsOf(ctx, b); err != nil {
			return nil, err
		}
	}
	return bundle.Diff(sides[0].Manifest, sides[1].Manifest), nil
}
