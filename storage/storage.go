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
// [Store.Sweep] removes it. A killed upload of a large object leaves its parts in an object
// store, where nobody sees them; a lifecycle rule for incomplete uploads removes them.
//
// A file:// URL works everywhere. What opens other URLs is in the options: an [Opener] for each
// scheme, which returns a [Bucket]. Package gocloud has them for all drivers of gocloud.dev/blob,
// and is on its own so that a program with folders and signed URLs alone carries no others.
// Requests that a store refuses for the moment, and connections that break off, are tried again
// with growing pauses; then the error is ErrUnavailable. Errors name the URL and the key, and show
// nothing of a URL that may be secret.
//
// An object can be handed to somebody without credentials: [Store.Sign] makes a URL for it, and
// [OpenSigned] reads or writes it with nothing but that.
//
//	url, err := s.Sign(ctx, key, http.MethodGet, time.Hour)
//	o, err := storage.OpenSigned(url, nil)
//	err = o.Get(ctx, "local/path", &storage.GetOptions{SHA256: sum})
package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
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
	url      string
	scheme   string
	name     string // the URL for errors, without secrets
	bucket   Bucket
	folder   *folder // the bucket, if that is what it is
	local    bool    // no network is in between: a folder, or memory
	careful  bool    // the driver throws a broken upload away by itself, and tidies up
	patience time.Duration
}

// OpenOptions are the options of [Open]; nil is the default.
type OpenOptions struct {
	// Create makes the folder of a file:// URL if there is none. Only its owner may enter it.
	Create bool
	// Patience is how long a store may leave a request without any progress before that is
	// ErrUnavailable; 0 means a minute.
	Patience time.Duration
	// Credentials are for an object store that has an opener; nil is those of the environment.
	Credentials *Credentials
	// Openers open the URLs of each scheme but file.
	Openers map[string]Opener
}

// Open opens the bucket at url. A folder that does not exist is ErrNotFound; whether a bucket
// exists, and the credentials are good for it, shows with the first request. Credentials are
// those of the options, or else taken from the environment, as the cloud's own tools take them,
// never from the URL. With the openers of package gocloud:
//
//	s3://bucket/prefix?region=eu-central-1     also endpoint, use_path_style, profile, anonymous, …
//	gs://bucket/prefix                         also anonymous, access_id, private_key_path, …
//	azblob://container/prefix?storage_account= also domain, protocol, localemu, …
//	file:///folder                             no query
//	mem://                                     for tests: every Open is a new one
//
// The query parameters are those of the drivers of gocloud.dev/blob.
func Open(ctx context.Context, url string, opts *OpenOptions) (*Store, error) {
	if opts == nil {
		opts = &OpenOptions{}
	}
	s := &Store{url: url, name: Redact(url), patience: opts.Patience}
	if strings.HasPrefix(url, folderScheme) {
		s.name = url // a path, in which nothing is secret
	}
	if s.patience == 0 {
		s.patience = defaultPatience
	}
	if err := s.open(ctx, opts); err != nil {
		return nil, fmt.Errorf("storage: open %q: %w", s.name, explain(err))
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, opts *OpenOptions) (err error) {
	if strings.HasPrefix(s.url, folderScheme) {
		s.local = true
		s.folder, err = openFolder(s.url, opts.Create)
		s.bucket = s.folder
		if errors.Is(err, fs.ErrNotExist) {
			return ErrNotFound
		}
		return err
	}
	u, err := parseURL(s.url)
	if err != nil {
		return err
	}
	s.scheme, s.local, s.careful = u.Scheme, u.Scheme == "mem", u.Scheme == "s3" || u.Scheme == "azblob"
	opener := opts.Openers[u.Scheme]
	if opener == nil {
		known := append(slices.Collect(maps.Keys(opts.Openers)), "file")
		slices.Sort(known)
		return fmt.Errorf("no driver for %q is linked in; there are %s", u.Scheme+"://", strings.Join(known, ", "))
	}
	s.bucket, err = opener(ctx, u, opts.Credentials)
	return err
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
	ctx, p := s.patiently(ctx, 0)
	var a *Attributes
	err := s.insist(ctx, func() (err error) {
		a, err = s.bucket.Attributes(ctx, key)
		return err
	}, nil)
	if err := p.end(ctx, err); err != nil {
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
	if o.SHA256, o.Size, err = s.hash(ctx, key); err != nil {
		return nil, s.fail("read", key, err)
	}
	return o, nil
}

// List yields the objects whose keys start with prefix, in the order of their keys.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[*Object, error] {
	return func(yield func(*Object, error) bool) {
		ctx, p := s.patiently(ctx, 0)
		defer p.end(ctx, nil)
		for o, err := range s.bucket.List(ctx, prefix) {
			if err := p.told(ctx, err); err != nil {
				yield(nil, s.fail("list", prefix, err))
				return
			}
			p.timer.Stop() // the caller takes its time
			if !yield(o, nil) {
				return
			}
			p.moved()
		}
	}
}

// Delete removes the object, or returns ErrNotFound.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return s.fail("delete", key, err)
	}
	ctx, p := s.patiently(ctx, 0)
	return s.fail("delete", key, p.end(ctx, s.insist(ctx, func() error { return s.bucket.Delete(ctx, key) }, nil)))
}

// checkKey accepts keys that mean the same in a folder and in every object store.
func checkKey(key string) error {
	if key == "" || !utf8.ValidString(key) || path.Clean(key) != key || key[0] == '/' || key == "." || key == ".." ||
		strings.HasPrefix(key, "../") || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f }) {
		return errors.New("not a valid key: want a relative path with forward slashes")
	}
	return nil
}
