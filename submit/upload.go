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

// Often enough to have what is deleted while it is used stored again.
const attempts = 3

func (u *upload) send(ctx context.Context) error {
	tmp, remove, err := u.temporary()
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	defer remove()
	u.tmp = tmp
	files := u.manifest
	for range attempts {
		// A document whose files are gone has them kept from now on, until another one does.
		before := u.run.Bundle.Key
		if before != "" && u.created == nil { // a run that is created already knows the key
			u.key = uuid.NewString()
		}
		u.manifest, u.archive, u.run.Bundle = files, nil, StoredBundle{}
		err := u.sendOnce(ctx, before == u.key)
		if before != "" && before != u.key {
			err = errors.Join(err, u.bucket.Delete(context.WithoutCancel(ctx), before))
		}
		if err != nil {
			return err
		}
		if lost, err := u.lost(ctx); err != nil || lost == "" {
			return err
		}
		if err := os.Remove(filepath.Join(u.tmp, "bundle.json")); err != nil {
			return fmt.Errorf("submit: %w", err)
		}
	}
	return fmt.Errorf("submit: %w: what was stored was deleted again, %d times", storage.ErrUnavailable, attempts)
}

func (u *upload) sendOnce(ctx context.Context, again bool) error {
	if u.manifest != nil {
		if err := u.sidecar(ctx); err != nil {
			return err
		}
		key := u.manifest.FilesKey()
		u.run.Bundle.FilesKey = &key
	}
	if u.Program != nil {
		if err := u.sendProgram(ctx); err != nil {
			return err
		}
	}
	inv, err := u.describe(ctx, u.collection)
	if err != nil {
		return err
	}
	return u.document(ctx, inv, again)
}

// lost returns the key of what was deleted before the document named it, or "".
func (u *upload) lost(ctx context.Context) (string, error) {
	var keys []string
	if u.manifest != nil {
		keys = append(keys, u.manifest.FilesKey())
	}
	if u.program != nil {
		keys = append(keys, u.program.Key)
	}
	for _, key := range keys {
		if ok, err := kept(ctx, u.bucket.Store, key); err != nil {
			return "", fmt.Errorf("submit: %w", err)
		} else if !ok {
			return key, nil
		}
	}
	return "", nil
}

// sidecar finds the sidecar in the store, or packs it and puts it there.
func (u *upload) sidecar(ctx context.Context) error {
	key := u.manifest.FilesKey()
	end, err := u.bucket.turns.take(ctx, key)
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	defer end()
	found, err := u.find(ctx)
	if err != nil || found == whole {
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
	sent, err := u.put(ctx, u.manifest.FilesKey(), path, u.archive, found == damaged && u.manifest.FilesKey() == key)
	if errors.Is(err, storage.ErrConflict) || err == nil && !sent {
		// Somebody else was quicker, and may pack in another way.
		if found, err = u.find(ctx); err != nil || found == whole {
			return err
		}
		u.archive = packed.Archive
		_, err = u.put(ctx, u.manifest.FilesKey(), path, u.archive, found == damaged)
	}
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	u.run.Bundle.UploadedBytes += u.archive.Size
	return u.remember(u.manifest.Digest, u.archive)
}

// found is what the store has under a sidecar's key.
type found int

const (
	absent found = iota
	whole
	damaged
)

// find looks for the sidecar in the store, and learns which bytes it has: from the note of this
// home, from the store or, where neither says, by reading them. The executor reads them in any
// case.
func (u *upload) find(ctx context.Context) (found, error) {
	key := u.manifest.FilesKey()
	object, err := u.bucket.Stat(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return absent, nil
	}
	if err != nil {
		return absent, fmt.Errorf("submit: %w", err)
	}
	u.archive = u.recall(u.manifest.Digest)
	if u.archive == nil || u.archive.Size != object.Size || object.SHA256 != (storage.Digest{}) && object.SHA256 != u.archive.SHA256 {
		if u.archive, err = u.prove(ctx, object); err != nil {
			return absent, fmt.Errorf("submit: %w", err)
		}
		if u.archive == nil {
			return damaged, nil
		}
	}
	u.run.Bundle.ReusedBytes += object.Size
	return whole, u.remember(u.manifest.Digest, u.archive)
}

// prove learns which bytes the stored sidecar has: the store may have kept their digest, else
// they are read to the end. It returns nil when they are not what the manifest says. A digest
// that the store kept is not believed once an executor refused the object: see
// [Client.distrust].
func (u *upload) prove(ctx context.Context, object *storage.Object) (*bundle.Archive, error) {
	if object.SHA256 != (storage.Digest{}) && !u.doubted(u.manifest.Digest) {
		return &bundle.Archive{SHA256: object.SHA256, Size: object.Size}, nil
	}
	path := filepath.Join(u.tmp, "stored.zip")
	defer os.Remove(path)
	add, done := u.progress("verify", object.Size)
	defer done()
	if err := u.bucket.Get(ctx, object.Key, path, &storage.GetOptions{Progress: add}); err != nil {
		return nil, err
	}
	what, err := hashFile(ctx, path)
	if err != nil {
		return nil, err
	}
	b, err := bundle.Open(path)
	if err == nil {
		var report *bundle.Report
		report, err = b.Verify(ctx, &bundle.VerifyOptions{Lock: bundle.NewLock(bundle.Digest{}, u.manifest)})
		if err == nil && report.OK {
			return what, nil
		}
	}
	switch bundle.KindOf(err) {
	case bundle.KindTampered, bundle.KindRefused, bundle.KindNotFound:
		err = nil
	}
	return nil, err
}

// document stores the document under its key, or again in place of the one that is there.
func (u *upload) document(ctx context.Context, inv bundle.Invocation, again bool) error {
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
	b.URL, b.Key, b.digest = u.bucket.URL(), u.key, digest
	b.UploadedBytes += info.Size()
	if _, err := u.put(ctx, b.Key, path, &bundle.Archive{SHA256: digest, Size: info.Size()}, again); err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	return nil
}

func (u *upload) put(ctx context.Context, key, path string, what *bundle.Archive, replace bool) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	add, done := u.progress("upload", what.Size)
	defer done()
	return u.bucket.Put(ctx, key, f, storage.PutOptions{Size: what.Size, SHA256: what.SHA256, Replace: replace, Progress: add})
}
