package submit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
)

// upload brings a bundle into the store: the sidecar if it is not there yet, then the document,
// so that no reader ever finds a document without its files.
type upload struct {
	*submission
	collection *bundle.Collection
	manifest   *bundle.Manifest // nil when no files travel
	archive    *bundle.Archive
	tmp        string
}

func (u *upload) send(ctx context.Context, inv bundle.Invocation) error {
	tmp, remove, err := u.temporary()
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	defer remove()
	u.tmp = tmp
	if u.manifest != nil {
		if err := u.sidecar(ctx); err != nil {
			return err
		}
		key := u.manifest.FilesKey()
		u.run.Bundle.FilesKey = &key
	}
	return u.document(ctx, inv)
}

// sidecar finds the sidecar in the store, or packs it and puts it there.
func (u *upload) sidecar(ctx context.Context) error {
	stored, err := u.stored(ctx)
	if err != nil || stored {
		return err
	}
	path := filepath.Join(u.tmp, "sidecar.zip")
	add, done := u.progress("pack", u.collection.TotalSize())
	packed, err := bundle.PackFile(ctx, u.collection, path, &bundle.PackOptions{Progress: add})
	done()
	if err != nil {
		return err
	}
	// What was packed counts, should a file have changed since it was hashed.
	u.manifest, u.archive = packed.Manifest, packed.Archive
	sent, err := u.put(ctx, u.manifest.FilesKey(), path, u.archive.SHA256, u.archive.Size)
	if errors.Is(err, storage.ErrConflict) || err == nil && !sent {
		// Somebody else was quicker, and may pack in another way.
		if stored, err := u.stored(ctx); err != nil || stored {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	u.run.Bundle.UploadedBytes += u.archive.Size
	return u.remember()
}

// stored reports whether the sidecar is in the store, and learns which bytes it has.
func (u *upload) stored(ctx context.Context) (bool, error) {
	key := u.manifest.FilesKey()
	object, err := u.bucket.Stat(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("submit: %w", err)
	}
	known := u.recall()
	if known == nil {
		if object, err = u.bucket.Identify(ctx, key); err != nil {
			return false, fmt.Errorf("submit: %w", err)
		}
		known = &bundle.Archive{SHA256: object.SHA256, Size: object.Size}
	}
	if known.Size != object.Size {
		return false, &bundle.Error{
			Kind: bundle.KindTampered, Path: key, Reason: fmt.Sprintf("the stored sidecar has %d bytes; it was stored with %d", object.Size, known.Size),
		}
	}
	u.archive = known
	u.run.Bundle.ReusedBytes = object.Size
	return true, u.remember()
}

// document stores the document under a new key.
func (u *upload) document(ctx context.Context, inv bundle.Invocation) error {
	d, err := bundle.NewDocument(inv, u.manifest, u.archive)
	if err != nil {
		return err
	}
	path := filepath.Join(u.tmp, "bundle.json")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	digest, err := d.Write(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	b := &u.run.Bundle
	b.URL, b.Key, b.digest = u.bucket.URL(), uuid.NewString(), digest
	b.UploadedBytes += info.Size()
	if _, err := u.put(ctx, b.Key, path, digest, info.Size()); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	return nil
}

func (u *upload) put(ctx context.Context, key, path string, digest bundle.Digest, size int64) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	add, done := u.progress("upload", size)
	defer done()
	return u.bucket.Put(ctx, key, f, storage.PutOptions{Size: size, SHA256: digest, Progress: add})
}

// A folder does not keep the digest of an object with it. A note beside the store does: it
// saves reading a sidecar in order to name its bytes, and has damage noticed.

func (u *upload) note() string {
	return filepath.Join(u.path("sidecars"), u.manifest.Digest.Hex())
}

// recall returns what the note says, or nil when there is none.
func (u *upload) recall() *bundle.Archive {
	b, err := os.ReadFile(u.note())
	if err != nil {
		return nil
	}
	var digest string
	a := &bundle.Archive{}
	if _, err := fmt.Sscanf(string(b), "%s %d\n", &digest, &a.Size); err != nil {
		return nil
	}
	if a.SHA256, err = bundle.ParseDigest(digest); err != nil {
		return nil
	}
	return a
}

// remember writes the note, unless it says the same already.
func (u *upload) remember() error {
	if a := u.recall(); a != nil && *a == *u.archive {
		return nil
	}
	text := fmt.Sprintf("%s %d\n", u.archive.SHA256, u.archive.Size)
	path := filepath.Join(u.tmp, "note")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	note := u.note()
	if err := os.MkdirAll(filepath.Dir(note), 0o700); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if err := os.Rename(path, note); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	return nil
}
