package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// GetOptions are the options of [Store.Get]; nil is the default.
type GetOptions struct {
	// SHA256, unless zero, is what the object's bytes must hash to, else Get is ErrDigest.
	SHA256 Digest
	// Sync forces the file to the disk before it gets its name. Without, it may be cut short after
	// the machine went down; what is fetched to be used at once need not wait for the disk.
	Sync bool
	// Progress, if not nil, is told how many further bytes have come, by one goroutine at a time.
	Progress func(bytes int64)
}

// A large object comes in parts of this size, that many at once: a store sends faster on several
// connections than on one. Nothing of them is kept in memory.
const (
	downloadPart  = 8 << 20
	downloadParts = 5
)

// Get writes the object to the file path, which appears only once it is whole and verified. Only
// its owner may read it. A file that is there already is replaced. A connection that breaks off
// is made again, and goes on where it was.
func (s *Store) Get(ctx context.Context, key, path string, opts *GetOptions) error {
	if opts == nil {
		opts = &GetOptions{}
	}
	if err := checkKey(key); err != nil {
		return s.fail("get", key, err)
	}
	return s.fail("get", key, writeFile(path, opts, func(f *os.File) (Digest, error) {
		ctx, p := s.patiently(ctx, 0)
		d, err := s.fetch(ctx, key, f, &moves{patience: p, progress: opts.Progress})
		return d, p.end(ctx, err)
	}))
}

// writeFile has fetch write a temporary file, and gives it its name when the digest is right.
func writeFile(path string, opts *GetOptions, fetch func(f *os.File) (Digest, error)) (err error) {
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
	got, err := fetch(f)
	if err != nil {
		return err
	}
	if opts.SHA256 != (Digest{}) && got != opts.SHA256 {
		return fmt.Errorf("%w: its SHA-256 is %x, not %x", ErrDigest, got, opts.SHA256)
	}
	if opts.Sync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// fetch writes the object into an empty file and returns its digest.
func (s *Store) fetch(ctx context.Context, key string, f *os.File, moved *moves) (d Digest, err error) {
	first := int64(-1)
	if !s.local {
		first = downloadPart
	}
	r, err := s.read(ctx, key, first)
	if err != nil {
		return d, err
	}
	defer r.Close()
	if from, ok := r.r.(*folderReader); ok {
		return copyFile(ctx, from.file, f, moved)
	}
	if r.end < r.size {
		return s.fetchParts(ctx, r, f, moved)
	}
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, h, moved), r); err != nil {
		return d, err
	}
	return Digest(h.Sum(nil)), nil
}

// fetchParts is fetch for an object of several parts, of which r is the first.
func (s *Store) fetchParts(ctx context.Context, r *reader, f *os.File, moved *moves) (d Digest, err error) {
	count := (r.size + downloadPart - 1) / downloadPart
	come := make([]chan struct{}, count)
	for n := range come {
		come[n] = make(chan struct{})
	}
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range min(downloadParts, count) {
		g.Go(func() error {
			for n := next.Add(1) - 1; n < count; n = next.Add(1) - 1 {
				part := r
				if n > 0 {
					part = r.part(ctx, n*downloadPart, min((n+1)*downloadPart, r.size))
				}
				_, err := io.Copy(io.MultiWriter(io.NewOffsetWriter(f, n*downloadPart), moved), part)
				part.Close()
				if err != nil {
					return err
				}
				close(come[n])
			}
			return nil
		})
	}
	// The digest goes through the file in order, close behind the parts: they are still in the
	// system's memory.
	h := sha256.New()
	g.Go(func() error {
		for n := range count {
			select {
			case <-come[n]:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			if _, err := io.Copy(h, io.NewSectionReader(f, n*downloadPart, downloadPart)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return d, err
	}
	return Digest(h.Sum(nil)), nil
}

// ReadAll returns an object of at most limit bytes.
func (s *Store) ReadAll(ctx context.Context, key string, limit int64) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, s.fail("read", key, err)
	}
	ctx, p := s.patiently(ctx, 0)
	b, err := s.readAll(ctx, key, limit, p)
	return b, s.fail("read", key, p.end(ctx, err))
}

func (s *Store) readAll(ctx context.Context, key string, limit int64, p *patience) ([]byte, error) {
	r, err := s.read(ctx, key, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readAtMost(io.TeeReader(r, &moves{patience: p}), r.size, limit)
}

// readAtMost reads r, which says that it has size bytes.
func readAtMost(r io.Reader, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, fmt.Errorf("it has %d bytes, more than %d", size, limit)
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, err
}

// hash returns the digest and the size of an object.
func (s *Store) hash(ctx context.Context, key string) (d Digest, size int64, err error) {
	ctx, p := s.patiently(ctx, 0)
	defer func() { err = p.end(ctx, err) }()
	r, err := s.read(ctx, key, -1)
	if err != nil {
		return d, 0, err
	}
	defer r.Close()
	h := sha256.New()
	if size, err = io.Copy(io.MultiWriter(h, &moves{patience: p}), r); err != nil {
		return d, 0, err
	}
	return Digest(h.Sum(nil)), size, nil
}

// moves is a writer that only notes that bytes came. It is safe for concurrent use.
type moves struct {
	mu       sync.Mutex
	patience *patience
	progress func(int64) // may be nil
}

func (m *moves) Write(p []byte) (int, error) {
	m.add(int64(len(p)))
	return len(p), nil
}

func (m *moves) add(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.patience.moved()
	if m.progress != nil && bytes > 0 {
		m.progress(bytes)
	}
}

func parseDigest(s string) (d Digest, err error) {
	if len(s) != 2*len(d) {
		return d, fmt.Errorf("%q is not a SHA-256", s)
	}
	_, err = hex.Decode(d[:], []byte(s))
	return d, err
}
