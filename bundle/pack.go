package bundle

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"os"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/flate"
)

// PackOptions are the options of [Pack] and [PackFile]; nil is the default.
type PackOptions struct {
	// Progress, if not nil, is told how many further bytes of content are done.
	Progress func(bytes int64)
	// Want, if not nil, is the manifest that the content must have.
	Want *Manifest
}

// Packed is what went into an archive, and the archive.
type Packed struct {
	Manifest *Manifest
	Archive  *Archive
}

// compressionLevel is deflate's level 2 of klauspost/compress: on text it packs tighter than
// zlib's level 1 does, at several times the speed of zlib's level 6, Prefect's. It must stay as
// it is for archives to be reproducible across versions.
const compressionLevel = 2

// Pack writes the sidecar zip of the collected files to w and returns what it packed. The same
// files make the same bytes: time stamps are fixed, and large files are deflated in blocks of
// fixed size, in parallel.
//
// The content is hashed again while it is packed. When a file is not what it was when it was
// collected, or the manifest is not the one wanted, Pack fails with kind changed, and what was
// written to w must be thrown away; [PackFile] tries once more first.
func Pack(ctx context.Context, c *Collection, w io.Writer, opts *PackOptions) (*Packed, error) {
	p, err := pack(ctx, c, w, opts)
	var changed *changedError
	if errors.As(err, &changed) {
		return nil, &Error{Kind: KindChanged, Path: c.Files[changed.file].below(), Reason: fmt.Sprintf("the file %s while it was packed", changed.what)}
	}
	return p, err
}

// PackFile packs into the file path, which appears there only once it is whole. It is not synced
// to disk: after a power failure it may be damaged, which its digests show.
func PackFile(ctx context.Context, c *Collection, path string, opts *PackOptions) (*Packed, error) {
	var packed *Packed
	err := writeAtomic(path, 0o666, false, func(f *os.File) error {
		return c.packInto(ctx, f, opts, &packed)
	})
	if err != nil {
		return nil, writeError(path, err)
	}
	return packed, nil
}

// packInto packs into an empty file, twice if need be.
func (c *Collection) packInto(ctx context.Context, f *os.File, opts *PackOptions, packed **Packed) error {
	return c.retried(func() error {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := f.Truncate(0); err != nil {
			return err
		}
		var err error
		*packed, err = pack(ctx, c, f, opts)
		return err
	})
}

func pack(ctx context.Context, c *Collection, w io.Writer, opts *PackOptions) (*Packed, error) {
	if opts == nil {
		opts = &PackOptions{}
	}
	started := time.Now()
	sealed := newSealer(w)
	sums := newSummer(c, opts.Progress)
	z := newZipper(c, sealed)
	transform := func() func(*chunk) error {
		hash, deflate := sums.small(), newDeflater()
		return func(ch *chunk) error {
			if err := hash(ch); err != nil {
				return err
			}
			return deflate.chunk(ch)
		}
	}
	if err := c.stream(ctx, transform, sums.canonical, sums.large, z.write); err != nil {
		return nil, err
	}
	if err := z.close(); err != nil {
		return nil, err
	}
	archive, err := sealed.seal()
	if err != nil {
		return nil, err
	}
	if err := c.settle(ctx, started); err != nil {
		return nil, err
	}
	m := c.manifest(sums.total.sum())
	if opts.Want != nil && opts.Want.Digest != m.Digest {
		return nil, differs(opts.Want, m)
	}
	return &Packed{Manifest: m, Archive: archive}, nil
}

// differs names the first file that is not as it was wanted.
func differs(want, got *Manifest) error {
	d := Diff(want, got)
	path := "the tree"
	switch {
	case len(d.Changed) > 0:
		path = d.Changed[0].Path
	case len(d.Removed) > 0:
		path = d.Removed[0].Path
	case len(d.Added) > 0:
		path = d.Added[0].Path
	}
	return &Error{Kind: KindChanged, Path: path, Reason: "changed between hashing and packing"}
}

// deflater compresses chunks, one after the other.
type deflater struct{ w *flate.Writer }

func newDeflater() *deflater {
	w, _ := flate.NewWriterDict(io.Discard, compressionLevel, make([]byte, 1)) // the level is valid
	return &deflater{w: w}
}

// chunk deflates every part. Blocks of a large file are deflated apart, each with the end of
// the block before as dictionary, and joined at a byte boundary: together they are one valid
// stream.
func (d *deflater) chunk(ch *chunk) error {
	ch.out.Reset()
	var ends [chunkFiles]int
	for i := range ch.parts {
		p := &ch.parts[i]
		d.w.ResetDict(&ch.out, p.dict)
		if _, err := d.w.Write(p.data); err != nil {
			return err
		}
		finish := d.w.Close
		if !p.last {
			finish = d.w.Flush
		}
		if err := finish(); err != nil {
			return err
		}
		ends[i] = ch.out.Len()
	}
	out, start := ch.out.Bytes(), 0
	for i := range ch.parts {
		ch.parts[i].packed = out[start:ends[i]]
		start = ends[i]
	}
	return nil
}

// zipper writes the archive's entries.
type zipper struct {
	c      *Collection
	buf    *bufio.Writer
	w      *zip.Writer
	header *zip.FileHeader // of the file under way
	entry  io.Writer
}

func newZipper(c *Collection, w io.Writer) *zipper {
	buf := bufio.NewWriterSize(w, 1<<18)
	return &zipper{c: c, buf: buf, w: zip.NewWriter(buf)}
}

const (
	versionUnix20     = 3<<8 | 20 // made on Unix, by version 2.0 of the format
	flagDescriptor    = 0x8
	flagUTF8          = 0x800
	dosDate1980       = 1<<5 | 1 // the first day that the format knows
	externalModeShift = 16
)

func (z *zipper) write(ch *chunk) error {
	for i := range ch.parts {
		p := &ch.parts[i]
		if p.first {
			if err := z.begin(p); err != nil {
				return err
			}
		} else {
			z.header.CRC32 = crc32.Update(z.header.CRC32, crc32.IEEETable, p.data)
			z.header.CompressedSize64 += uint64(len(p.packed))
			z.header.UncompressedSize64 += uint64(len(p.data))
			// The writer takes small sizes for its data descriptor from the old members.
			z.header.CompressedSize = uint32(min(z.header.CompressedSize64, math.MaxUint32))     //lint:ignore SA1019 see above
			z.header.UncompressedSize = uint32(min(z.header.UncompressedSize64, math.MaxUint32)) //lint:ignore SA1019 see above
		}
		if _, err := z.entry.Write(p.packed); err != nil {
			return err
		}
	}
	return nil
}

// begin starts a file. Its sizes follow its content in a data descriptor if they are not known
// yet; the zip writer reads them from the header then.
func (z *zipper) begin(p *part) error {
	f := &z.c.Files[p.file]
	z.header = &zip.FileHeader{
		Name:               f.Path,
		Method:             zip.Deflate,
		CreatorVersion:     versionUnix20,
		ReaderVersion:      20,
		ModifiedDate:       dosDate1980, //lint:ignore SA1019 raw entries take no other time
		ExternalAttrs:      uint32(f.Mode) << externalModeShift,
		CRC32:              crc32.ChecksumIEEE(p.data),
		CompressedSize64:   uint64(len(p.packed)),
		UncompressedSize64: uint64(len(p.data)),
	}
	if hashed := f.hashedName(); hashed != f.Path {
		z.header.Comment = hashed
	}
	if !isASCII(f.Path) {
		z.header.Flags |= flagUTF8
	}
	if !p.last {
		z.header.Flags |= flagDescriptor
	}
	var err error
	z.entry, err = z.w.CreateRaw(z.header)
	return err
}

func (z *zipper) close() error {
	if err := z.w.SetComment(sealPlaceholder); err != nil {
		return err
	}
	if err := z.w.Close(); err != nil {
		return err
	}
	return z.buf.Flush()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// An archive ends in a comment that holds the SHA-256 of everything before it, so that damage
// shows even where no document is at hand to tell.
const sealPrefix = "flowship sha256:"

var sealPlaceholder = sealPrefix + string(bytes.Repeat([]byte("0"), 2*sha256.Size))

// sealer passes an archive on, hashes it, and puts the true seal where the placeholder is.
type sealer struct {
	w    io.Writer
	h    hash.Hash
	size int64
	tail []byte // the last bytes, held back
}

func newSealer(w io.Writer) *sealer { return &sealer{w: w, h: sha256.New()} }

func (s *sealer) Write(p []byte) (int, error) {
	s.tail = append(s.tail, p...)
	if n := len(s.tail) - len(sealPlaceholder); n > 0 {
		if err := s.flush(s.tail[:n]); err != nil {
			return 0, err
		}
		s.tail = append(s.tail[:0], s.tail[n:]...)
	}
	return len(p), nil
}

func (s *sealer) flush(p []byte) error {
	s.h.Write(p)
	s.size += int64(len(p))
	_, err := s.w.Write(p)
	return err
}

// seal ends the archive and identifies it.
func (s *sealer) seal() (*Archive, error) {
	var body Digest
	s.h.Sum(body[:0])
	if err := s.flush([]byte(sealPrefix + body.Hex())); err != nil {
		return nil, err
	}
	a := &Archive{Size: s.size}
	s.h.Sum(a.SHA256[:0])
	return a, nil
}
