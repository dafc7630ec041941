package storage

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// ReaderAtOptions are the options of [Store.ReaderAt]; nil is the default.
type ReaderAtOptions struct {
	// Size, unless 0, is the object's size where it is known already: a request less. An object
	// that has another one is ErrDigest.
	Size int64
	// Progress, if not nil, is told how many further bytes have come, by one goroutine at a time.
	Progress func(bytes int64)
}

// ReaderAt reads ranges of one object, and of its bytes not many more than it is asked for: it is
// for tables of contents, and for objects that are read up to some place. What is read in order
// comes in ever larger ranges. It is safe for concurrent use, but reads one range at a time.
type ReaderAt struct {
	s        *Store
	ctx      context.Context
	key      string
	size     int64
	progress func(int64)

	mu       sync.Mutex
	modified time.Time // of the object that the first range came from
	window   []byte
	at       int64 // of the window, in the object
	ahead    int64 // how much is read when a range begins where the window ends
}

// A range is at least this large, and the last one begins no later than this before the end of
// the object: a round trip costs more than bytes. Read in order, ranges double up to the other.
const (
	leastRange = 64 << 10
	mostRange  = 4 << 20
)

// ReaderAt opens an object for reading ranges of it, all of which come from the same object, as
// far as its size and time tell. They can be read as long as ctx lives.
func (s *Store) ReaderAt(ctx context.Context, key string, opts *ReaderAtOptions) (*ReaderAt, error) {
	if opts == nil {
		opts = &ReaderAtOptions{}
	}
	if err := checkKey(key); err != nil {
		return nil, s.fail("read", key, err)
	}
	r := &ReaderAt{s: s, ctx: ctx, key: key, size: opts.Size, progress: opts.Progress, ahead: leastRange}
	if r.size == 0 {
		o, err := s.Stat(ctx, key)
		if err != nil {
			return nil, err
		}
		r.size = o.Size
	}
	return r, nil
}

// Size returns the size of the object in bytes.
func (r *ReaderAt) Size() int64 { return r.size }

// ReadAt implements [io.ReaderAt].
func (r *ReaderAt) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, r.s.fail("read", r.key, fmt.Errorf("from the offset %d", off))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for n < len(p) {
		at := off + int64(n)
		if at >= r.size {
			return n, io.EOF
		}
		if at < r.at || at >= r.at+int64(len(r.window)) {
			if err := r.load(at, int64(len(p)-n)); err != nil {
				return n, r.s.fail("read", r.key, err)
			}
		}
		n += copy(p[n:], r.window[at-r.at:])
	}
	return n, nil
}

// load has the window begin at the offset or before it.
func (r *ReaderAt) load(at, wanted int64) error {
	if at == r.at+int64(len(r.window)) && len(r.window) > 0 {
		r.ahead = min(2*r.ahead, mostRange)
	} else {
		r.ahead = leastRange
	}
	from, to := at, min(at+max(r.ahead, min(wanted, mostRange)), r.size)
	if tail := max(r.size-leastRange, 0); from > tail {
		from = tail
	}
	window := r.window[:0]
	if int64(cap(window)) < to-from {
		window = make([]byte, 0, to-from)
	}
	window = window[:to-from]
	r.window, r.at = nil, 0 // should it fail
	ctx, p := r.s.patiently(r.ctx, 0)
	if err := p.end(ctx, r.read(ctx, window, from, &moves{patience: p, progress: r.progress})); err != nil {
		return err
	}
	r.window, r.at = window, from
	return nil
}

// read fills the window.
func (r *ReaderAt) read(ctx context.Context, window []byte, from int64, moved io.Writer) error {
	part := &reader{s: r.s, ctx: ctx, key: r.key, at: from, end: from + int64(len(window)), size: r.size, modified: r.modified}
	defer part.Close()
	if r.modified.IsZero() {
		b, err := r.s.bucket.NewRangeReader(ctx, r.key, from, int64(len(window)))
		if err != nil {
			return err
		}
		part.r = b
		if b.Size() != r.size {
			return fmt.Errorf("%w: it has %d bytes, not %d", ErrDigest, b.Size(), r.size)
		}
		r.modified, part.modified = b.ModTime(), b.ModTime()
	}
	_, err := io.ReadFull(io.TeeReader(part, moved), window)
	return err
}
