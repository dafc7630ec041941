package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gocloud.dev/blob"
)

// GetOptions are the options of [Store.Get]; nil is the default.
type GetOptions struct {
	// SHA256, unless zero, is what the object's bytes must hash to, else Get is ErrDigest.
	SHA256 Digest
	// Progress, if not nil, is told how many further bytes have come.
	Progress func(bytes int64)
}

// Get writes the object to the file path, which appears only once it is whole, verified and on
// the disk. Only its owner may read it. A file that is there already is replaced.
func (s *Store) Get(ctx context.Context, key, path string, opts *GetOptions) error {
	if opts == nil {
		opts = &GetOptions{}
	}
	if err := checkKey(key); err != nil {
		return s.fail("get", key, err)
	}
	return s.fail("get", key, s.get(ctx, key, path, opts))
}

func (s *Store) get(ctx context.Context, key, path string, opts *GetOptions) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".flowship-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	h := sha256.New()
	w := io.MultiWriter(f, h)
	if opts.Progress != nil {
		w = io.MultiWriter(w, counter(opts.Progress))
	}
	if _, err := s.copy(ctx, key, w); err != nil {
		return err
	}
	var got Digest
	if h.Sum(got[:0]); opts.SHA256 != (Digest{}) && got != opts.SHA256 {
		return fmt.Errorf("%w: its SHA-256 is %x, not %x", ErrDigest, got, opts.SHA256)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// ReadAll returns an object of at most limit bytes.
func (s *Store) ReadAll(ctx context.Context, key string, limit int64) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, s.fail("read", key, err)
	}
	r, err := s.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, s.fail("read", key, err)
	}
	defer r.Close()
	if r.Size() > limit {
		return nil, s.fail("read", key, fmt.Errorf("it has %d bytes, more than %d", r.Size(), limit))
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, s.fail("read", key, err)
}

// copy writes an object's bytes to w, and reports a stream that ends early.
func (s *Store) copy(ctx context.Context, key string, w io.Writer) (n int64, err error) {
	r, err := s.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return 0, err
	}
	defer func(r *blob.Reader) { err = errors.Join(err, r.Close()) }(r)
	n, err = io.Copy(w, r)
	if err == nil && n != r.Size() {
		err = fmt.Errorf("it ended after %d of %d bytes: %w", n, r.Size(), io.ErrUnexpectedEOF)
	}
	return n, err
}

// counter is a writer that only counts.
type counter func(int64)

func (c counter) Write(p []byte) (int, error) {
	c(int64(len(p)))
	return len(p), nil
}

func parseDigest(s string) (d Digest, err error) {
	if len(s) != 2*len(d) {
		return d, fmt.Errorf("%q is not a SHA-256", s)
	}
	_, err = hex.Decode(d[:], []byte(s))
	return d, err
}
