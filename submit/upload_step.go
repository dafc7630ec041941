package submit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
)

// UploadStep is what the command line of an upload says.
type UploadStep struct {
	URL, Key string               // of the store, and in it
	File     string               // to upload
	Storage  *storage.OpenOptions // nil is the default
}

// Upload stores a file under a key, and reports whether it sent anything.
//
// A sidecar or a program, whose key says what it is, is sent once: what is there already with its
// size stays. A sidecar of another size stays if it holds the same files, packed by somebody
// else. Anything else replaces what is there.
func Upload(ctx context.Context, step UploadStep) (sent bool, err error) {
	store, err := storage.Open(ctx, step.URL, stores(step.Storage))
	if err != nil {
		return false, fmt.Errorf("submit: %w", err)
	}
	defer store.Close()
	f, err := os.Open(step.File)
	if err != nil {
		return false, fmt.Errorf("submit: upload: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("submit: upload: %w", err)
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("submit: upload: %q is not a regular file", step.File)
	}
	replace := true
	if byContent(step.Key) {
		if replace, err = toReplace(ctx, store, step.Key, info.Size()); err != nil {
			return false, fmt.Errorf("submit: upload: %w", err)
		} else if !replace {
			// Prefect's client has stored the document before, so the sidecar is not deleted
			// unless somebody was about to.
			if ok, err := kept(ctx, store, step.Key); err != nil {
				return false, fmt.Errorf("submit: upload: %w", err)
			} else if ok {
				return false, nil
			}
		}
	}
	put := storage.PutOptions{Size: info.Size(), Replace: replace}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return false, fmt.Errorf("submit: upload: %w", err)
	}
	h.Sum(put.SHA256[:0])
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false, fmt.Errorf("submit: upload: %w", err)
	}
	if sent, err = store.Put(ctx, step.Key, f, put); err != nil {
		return false, fmt.Errorf("submit: upload: %w", err)
	}
	return sent, nil
}

// byContent reports whether the key is that of what it stands for.
func byContent(key string) bool {
	_, sidecar := bundle.ParseFilesKey(key)
	_, program := bundle.ParseProgramKey(key)
	return sidecar == nil || program == nil
}

// toReplace reports whether what the store has under the key, if anything, is to make way.
func toReplace(ctx context.Context, store *storage.Store, key string, size int64) (bool, error) {
	object, err := store.Stat(ctx, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return true, nil
	case err != nil:
		return false, err
	case object.Size == size:
		return false, nil
	}
	whole, err := wholeSidecar(ctx, store, key)
	return !whole, err
}

// wholeSidecar reports whether the stored sidecar holds what its key says.
func wholeSidecar(ctx context.Context, store *storage.Store, key string) (bool, error) {
	if _, err := bundle.ParseFilesKey(key); err != nil {
		return false, nil // a program's key is the digest of its bytes, of which there are too many or too few
	}
	dir, err := os.MkdirTemp("", "flowship-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, filepath.Base(key))
	if err := store.Get(ctx, key, path, nil); err != nil {
		return false, err
	}
	b, err := bundle.Open(path)
	if err != nil {
		return false, err
	}
	report, err := b.Verify(ctx, nil)
	return err == nil && report.OK, err
}
