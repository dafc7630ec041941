package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// How often the reading of one part is taken up again. Requests that a store refuses are
// repeated by its SDK; only what breaks off in the middle is our business.
const resumptions = 5

// reader reads a range of an object, and goes on where a connection broke off. All of it comes
// from the same object, as far as its size and time tell.
type reader struct {
	s        *Store
	ctx      context.Context
	key      string
	at, end  int64 // in the object
	size     int64 // of the whole object
	modified time.Time
	r        Reader // nil until the first Read of a part
	resumed  int
}

// read opens an object, of which only the first bytes are wanted unless length is negative.
func (s *Store) read(ctx context.Context, key string, length int64) (*reader, error) {
	b, err := s.openRange(ctx, key, 0, length)
	if statusOf(err) == http.StatusRequestedRangeNotSatisfiable { // an empty object has no first byte
		b, err = s.openRange(ctx, key, 0, -1)
	}
	if err != nil {
		return nil, err
	}
	r := &reader{s: s, ctx: ctx, key: key, end: b.Size(), size: b.Size(), modified: b.ModTime(), r: b}
	if length >= 0 {
		r.end = min(length, r.size)
	}
	return r, nil
}

func (s *Store) openRange(ctx context.Context, key string, offset, length int64) (b Reader, err error) {
	err = s.insist(ctx, func() error {
		b, err = s.bucket.NewRangeReader(ctx, key, offset, length)
		return err
	}, nil)
	return b, err
}

// part returns a reader of another range of the same object.
func (r *reader) part(ctx context.Context, from, to int64) *reader {
	return &reader{s: r.s, ctx: ctx, key: r.key, at: from, end: to, size: r.size, modified: r.modified}
}

func (r *reader) open() error {
	b, err := r.s.openRange(r.ctx, r.key, r.at, r.end-r.at)
	replaced := statusOf(err) == http.StatusRequestedRangeNotSatisfiable
	if err != nil && !replaced {
		return err
	}
	if replaced || b.Size() != r.size || !b.ModTime().Equal(r.modified) {
		if b != nil {
			b.Close()
		}
		return fmt.Errorf("%w: it was replaced while it was read", ErrDigest)
	}
	r.r = b
	return nil
}

func (r *reader) Read(p []byte) (int, error) {
	for {
		if r.at == r.end {
			return 0, io.EOF
		}
		if r.r == nil {
			if err := r.open(); err != nil {
				return 0, err
			}
		}
		n, err := r.r.Read(p[:min(int64(len(p)), r.end-r.at)])
		r.at += int64(n)
		switch {
		case err == nil, r.at == r.end:
			return n, nil
		case errors.Is(err, io.EOF):
			err = fmt.Errorf("it ended after %d of %d bytes: %w", r.at, r.size, io.ErrUnexpectedEOF)
		}
		r.Close()
		if r.s.local || r.resumed == resumptions || statusOf(err) != 0 || r.ctx.Err() != nil || !cut(err) {
			return n, err
		}
		r.resumed++
		if pauseErr := pause(r.ctx, r.resumed); pauseErr != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (r *reader) Close() error {
	if r.r == nil {
		return nil
	}
	b := r.r
	r.r = nil
	return b.Close()
}
