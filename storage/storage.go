// Package storage keeps a bundle's objects in a bucket: a folder or, with the drivers that the
// program links in, an object store.
//
//	s, err := storage.Open(ctx, "file:///var/lib/bundles", &storage.OpenOptions{Create: true})
//	stored, err := s.Put(ctx, key, file, storage.PutOptions{Size: size, SHA256: sum})
//	err = s.Get(ctx, key, "local/path", &storage.GetOptions{SHA256: sum})
//
// An object is put once: its key says what it is, so an object that is there already is success
// when it has the right size and, where the store knows it, the right digest. Nobody ever sees
// half an object, whatever fails or is killed: in a folder an object is written to a temporary
// name beside its own, forced to the disk and then renamed, and so is its name when Put returns.
// What Get writes was verified first. A killed writer leaves the temporary file behind;
// [Store.Sweep] removes it.
//
// Stores are those of gocloud.dev/blob. A file:// URL works everywhere; for others, import the
// driver for its side effect.
package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// Errors that callers branch on; they come wrapped with what they are about.
var (
	// ErrNotFound: there is no such object, or no such folder.
	ErrNotFound = errors.New("not found")
	// ErrDigest: the bytes are not the ones that were asked for.
	ErrDigest = errors.New("wrong digest")
	// ErrConflict: another object has the key.
	ErrConflict = errors.New("another object has this key")
)

// Digest is a SHA-256; the zero Digest means "not known".
type Digest = [sha256.Size]byte

// Object is what a store knows about one object.
type Object struct {
	Key      string
	Size     int64 // bytes
	Modified time.Time
	SHA256   Digest // zero where the store keeps no metadata, as folders do not, or in listings
}

// Store is an open bucket. It is safe for concurrent use.
type Store struct {
	url    string
	bucket *blob.Bucket
	folder bool
	dir    string // of a folder
}

// OpenOptions are the options of [Open]; nil is the default.
type OpenOptions struct {
	// Create makes the folder of a file:// URL if there is none. Only its owner may enter it.
	Create bool
	// Credentials are for an object store that has an opener; nil is those of the environment.
	Credentials *Credentials
	// Openers open the URLs of a scheme. One that is not here is opened as gocloud.dev does.
	Openers map[string]Opener
}

// Open opens the bucket at url. A folder that does not exist is ErrNotFound.
func Open(ctx context.Context, url string, opts *OpenOptions) (*Store, error) {
	if opts == nil {
		opts = &OpenOptions{}
	}
	s := &Store{url: url, folder: strings.HasPrefix(url, folderScheme)}
	var err error
	if s.folder {
		s.dir, s.bucket, err = openFolder(url, opts.Create)
	} else {
		s.bucket, err = openBucket(ctx, url, opts)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("storage: open %q: %w", url, err)
	}
	return s, nil
}

// URL returns the URL that the store was opened with.
func (s *Store) URL() string { return s.url }

// Close releases what the store holds open.
func (s *Store) Close() error { return s.bucket.Close() }

// metadataDigest is the name under which an object's SHA-256 is kept with it, in hexadecimal.
const metadataDigest = "sha256"

// Stat returns what the store knows about the object, or ErrNotFound.
func (s *Store) Stat(ctx context.Context, key string) (*Object, error) {
	if err := checkKey(key); err != nil {
		return nil, s.fail("stat", key, err)
	}
	a, err := s.bucket.Attributes(ctx, key)
	if err != nil {
		return nil, s.fail("stat", key, err)
	}
	o := &Object{Key: key, Size: a.Size, Modified: a.ModTime}
	o.SHA256, _ = parseDigest(a.Metadata[metadataDigest])
	return o, nil
}

// Identify returns the object with its digest. A store that does not keep digests has to read
// the object for it.
func (s *Store) Identify(ctx context.Context, key string) (*Object, error) {
	o, err := s.Stat(ctx, key)
	if err != nil || o.SHA256 != (Digest{}) {
		return o, err
	}
	h := sha256.New()
	if o.Size, err = s.copy(ctx, key, h); err != nil {
		return nil, s.fail("read", key, err)
	}
	h.Sum(o.SHA256[:0])
	return o, nil
}

// List yields the objects whose keys start with prefix, in the order of their keys.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[*Object, error] {
	return func(yield func(*Object, error) bool) {
		objects := s.bucket.List(&blob.ListOptions{Prefix: prefix})
		for {
			o, err := objects.Next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, s.fail("list", prefix, err))
				return
			}
			if s.folder && isTemporary(o.Key) {
				continue
			}
			if !yield(&Object{Key: o.Key, Size: o.Size, Modified: o.ModTime}, nil) {
				return
			}
		}
	}
}

// Delete removes the object, or returns ErrNotFound.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return s.fail("delete", key, err)
	}
	return s.fail("delete", key, s.bucket.Delete(ctx, key))
}

// fail says what was done to which object, and translates the driver's codes. A nil err stays
// nil.
func (s *Store) fail(verb, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case gcerrors.Code(err) == gcerrors.NotFound:
		err = ErrNotFound
	}
	return fmt.Errorf("storage: %s %q in %q: %w", verb, key, s.url, err)
}

// checkKey accepts keys that mean the same in a folder and in every object store.
func checkKey(key string) error {
	if key == "" || !utf8.ValidString(key) || path.Clean(key) != key || key[0] == '/' || key == "." || key == ".." ||
		strings.HasPrefix(key, "../") || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f }) {
		return errors.New("not a valid key: want a relative path with forward slashes")
	}
	return nil
}
