package oci

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/pgzip"

	"github.com/flowship/flowship/bundle"
)

// epoch is the time of all that has none of its own.
var epoch = time.Unix(0, 0).UTC()

// layer is a layer, or another blob, in a file.
type layer struct {
	path           string
	digest, diffID v1.Hash
	size           int64
	mediaType      types.MediaType
	opened         atomic.Bool // somebody wanted its bytes
}

func (l *layer) Digest() (v1.Hash, error)            { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *layer) Size() (int64, error)                { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error) { return l.mediaType, nil }
func (l *layer) Compressed() (io.ReadCloser, error)  { l.opened.Store(true); return os.Open(l.path) }
func (l *layer) as(mediaType types.MediaType) *layer {
	return &layer{path: l.path, digest: l.digest, diffID: l.diffID, size: l.size, mediaType: mediaType}
}

func (l *layer) Uncompressed() (io.ReadCloser, error) {
	f, err := l.Compressed()
	if err != nil || l.digest == l.diffID {
		return f, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &bothClosed{z, f}, nil
}

type bothClosed struct {
	io.ReadCloser
	under io.Closer
}

func (b *bothClosed) Close() error { return errors.Join(b.ReadCloser.Close(), b.under.Close()) }

func hashOf(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

func hashOfDigest(d bundle.Digest) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: d.Hex()} }

// spool compresses what write writes into a new file in dir, once: to learn its digest and to
// send it would else be to compress it twice.
func spool(dir string, level int, write func(io.Writer) error) (l *layer, err error) {
	f, err := os.CreateTemp(dir, "layer-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(f.Name())
		}
	}()
	packed, plain, sized := sha256.New(), sha256.New(), &counter{}
	buffered := bufio.NewWriterSize(io.MultiWriter(f, packed, sized), 1<<18)
	z, err := pgzip.NewWriterLevel(buffered, level) // in blocks of one size: the same bytes with any number of processors
	if err != nil {
		return nil, err
	}
	z.ModTime = epoch
	if err := write(io.MultiWriter(z, plain)); err != nil {
		z.Close() // it has goroutines
		return nil, err
	}
	if err := errors.Join(z.Close(), buffered.Flush()); err != nil {
		return nil, err
	}
	return &layer{path: f.Name(), digest: hashOf(packed), diffID: hashOf(plain), size: sized.n}, nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// entry is a file or directory of a layer.
type entry struct {
	name string // without the slash at its begin
	mode int64
	from string        // path of the file; "" for a directory
	want bundle.Digest // of the file, unless zero
}

// parents are the directories of the entries, from the top. Engines make those that are missing
// with modes that keep others than root out.
func parents(entries []entry) []entry {
	var dirs []entry
	for _, e := range entries {
		for dir := path.Dir(e.name); dir != "."; dir = path.Dir(dir) {
			there := func(other entry) bool { return other.name == dir }
			if !slices.ContainsFunc(dirs, there) && !slices.ContainsFunc(entries, there) {
				dirs = append(dirs, entry{name: dir, mode: 0o755})
			}
		}
	}
	return dirs
}

// pack makes a layer of the entries and the directories that they are in.
func pack(ctx context.Context, dir string, entries []entry) (*layer, error) {
	entries = append(parents(entries), entries...)
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return spool(dir, gzip.DefaultCompression, func(w io.Writer) error {
		t := tar.NewWriter(w)
		for _, e := range entries {
			if err := e.write(ctx, t); err != nil {
				return err
			}
		}
		return t.Close()
	})
}

func (e *entry) write(ctx context.Context, t *tar.Writer) error {
	header := &tar.Header{Typeflag: tar.TypeDir, Name: e.name + "/", Mode: e.mode, ModTime: epoch}
	if e.from == "" {
		return t.WriteHeader(header)
	}
	f, err := os.Open(e.from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	header.Typeflag, header.Name, header.Size = tar.TypeReg, e.name, info.Size()
	if err := t.WriteHeader(header); err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(t, io.TeeReader(io.LimitReader(bundle.ReaderWith(ctx, f), info.Size()), h))
	if err != nil {
		return fmt.Errorf("read %q: %w", e.from, err)
	}
	if n != info.Size() || !e.want.IsZero() && bundle.Digest(h.Sum(nil)) != e.want {
		return &bundle.Error{Kind: bundle.KindChanged, Path: e.from, Reason: "changed while it was read"}
	}
	return nil
}
