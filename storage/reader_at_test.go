package storage_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/flowship/flowship/storage"
)

func TestReaderAt(t *testing.T) {
	everyStore(t, func(t *testing.T, s *storage.Store) {
		content := make([]byte, 3<<20+11)
		rand.NewChaCha8([32]byte{}).Read(content)
		opts := storage.PutOptions{Size: int64(len(content)), SHA256: sha256.Sum256(content)}
		if _, err := s.Put(t.Context(), "o", bytes.NewReader(content), opts); err != nil {
			t.Fatal(err)
		}
		came := int64(0)
		r, err := s.ReaderAt(t.Context(), "o", &storage.ReaderAtOptions{Progress: func(n int64) { came += n }})
		if err != nil {
			t.Fatal(err)
		}
		// The end, as a table of contents is read.
		p := make([]byte, 100)
		for _, off := range []int64{opts.Size - 100, opts.Size - 40_000, 1 << 20} {
			if n, err := r.ReadAt(p, off); n != len(p) || err != nil || !bytes.Equal(p, content[off:off+100]) {
				t.Errorf("at %d: %d bytes, %v", off, n, err)
			}
		}
		if came > 128<<10 {
			t.Errorf("%d bytes came for 300", came)
		}
		if n, err := r.ReadAt(p, opts.Size-10); n != 10 || err != io.EOF {
			t.Errorf("over the end: %d bytes, %v", n, err)
		}
		came = 0
		if err := iotest.TestReader(io.NewSectionReader(r, 5, 200), content[5:205]); err != nil {
			t.Error(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(r, 0, opts.Size))
		if err != nil || !bytes.Equal(got, content) || came > opts.Size+leastRangeSlack {
			t.Errorf("all: %d bytes, of which %d came, %v", len(got), came, err)
		}
	})
}

// What a short read in another place may cost.
const leastRangeSlack = 256 << 10

func TestReaderAtReplaced(t *testing.T) {
	everyStore(t, func(t *testing.T, s *storage.Store) {
		if _, err := s.ReaderAt(t.Context(), "o", nil); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("no object: %v", err)
		}
		put(t, s, "o", "content")
		r, err := s.ReaderAt(t.Context(), "o", &storage.ReaderAtOptions{Size: 8})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadAt(make([]byte, 3), 0); !errors.Is(err, storage.ErrDigest) {
			t.Errorf("another size: %v", err)
		}
		if err := s.Delete(t.Context(), "o"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadAt(make([]byte, 3), 0); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("gone: %v", err)
		}
	})
}
