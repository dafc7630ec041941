package bundle

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/flate"
)

// archive is an opened sidecar whose table of contents was found safe: every entry a regular
// file with a name that stays inside, no two of one name, none overlapping.
type archive struct {
	path    string
	file    io.ReaderAt
	close   func() error
	size    int64
	comment string
	entries []*zip.File
}

func openArchive(path string) (*archive, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fileError(path, err)
	}
	a := &archive{path: path, file: f, close: f.Close, size: info.Size()}
	if err := a.read(); err != nil {
		f.Close()
		return nil, err
	}
	return a, nil
}

func (a *archive) Close() error { return a.close() }

// openRegular opens a file, but no pipe or device, on which reading could wait for ever.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, &Error{Kind: KindRefused, Path: path, Reason: "is " + describe(info.Mode().Type()) + ", not a file"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	return f, nil
}

// read reads the table of contents, and makes sure that it and the entries fill the file.
func (a *archive) read() error {
	if err := a.list(); err != nil {
		return err
	}
	return a.checkLayout()
}

// list reads the table of contents alone.
func (a *archive) list() error {
	r, err := zip.NewReader(a.file, a.size)
	if err != nil {
		return a.damaged("is not a zip archive, or damaged", err)
	}
	r.RegisterDecompressor(zip.Deflate, flate.NewReader)
	a.comment, a.entries = r.Comment, r.File
	if err := a.checkEnd(); err != nil {
		return err
	}
	return a.check()
}

func (a *archive) damaged(reason string, err error) error {
	return &Error{Kind: KindTampered, Path: a.path, Reason: reason, Err: err}
}

const endSize = 22 // of the end record, without its comment

// checkEnd makes sure that the end record is the end: readers look for it backwards, so two of
// them could find different ones.
func (a *archive) checkEnd() error {
	end := make([]byte, endSize+len(a.comment))
	if int64(len(end)) > a.size {
		return a.damaged("is shorter than its end record", nil)
	}
	if _, err := a.file.ReadAt(end, a.size-int64(len(end))); err != nil {
		return fileError(a.path, err)
	}
	if !bytes.HasPrefix(end, []byte(endMark)) {
		return a.damaged("has bytes after its end record", nil)
	}
	return nil
}

// check refuses archives that would not extract to what their table of contents promises.
func (a *archive) check() error {
	names := make(map[string]bool, len(a.entries)) // true: a file, false: a directory above one
	for _, e := range a.entries {
		if err := a.checkEntry(e); err != nil {
			return err
		}
		if err := addName(names, e.Name); err != nil {
			return err
		}
	}
	return nil
}

// addName refuses a name that is there already, and files where others need a directory.
func addName(names map[string]bool, name string) error {
	if file, ok := names[name]; ok {
		reason := "stands twice in the archive"
		if !file {
			reason = "is a file and a directory in the archive"
		}
		return &Error{Kind: KindRefused, Path: name, Reason: reason}
	}
	names[name] = true
	for dir := name; ; {
		i := strings.LastIndexByte(dir, '/')
		if i < 0 {
			return nil
		}
		dir = dir[:i]
		file, ok := names[dir]
		if file {
			return &Error{Kind: KindRefused, Path: dir, Reason: "is a file and a directory in the archive"}
		}
		if ok {
			return nil // the directories above it are known as well
		}
		names[dir] = false
	}
}

const (
	flagEncrypted = 0x1
	// maxRatio is more than what deflate can reach.
	maxRatio = 1040
)

func (a *archive) checkEntry(e *zip.File) error {
	if err := checkName(e.Name); err != nil {
		return err
	}
	refuse := func(reason string) error {
		return &Error{Kind: KindRefused, Path: e.Name, Reason: reason}
	}
	if e.Flags&flagEncrypted != 0 {
		return refuse("is encrypted")
	}
	if e.Method != zip.Deflate && e.Method != zip.Store {
		return refuse(fmt.Sprintf("uses compression method %d; only deflate and store are read", e.Method))
	}
	if kind := entryMode(e) & modeTypeMask; kind != modeRegular {
		return refuse("is no regular file")
	}
	if e.UncompressedSize64/maxRatio > e.CompressedSize64+1 || e.CompressedSize64 > uint64(a.size) {
		return refuse(fmt.Sprintf("claims to hold %d bytes in %d", e.UncompressedSize64, e.CompressedSize64))
	}
	return nil
}

// entryMode returns the mode that an entry was packed with. Archives that were not made on Unix
// have none; theirs count as regular files of mode 0644.
func entryMode(e *zip.File) Mode {
	mode := Mode(e.ExternalAttrs >> externalModeShift)
	if mode == 0 {
		return modeRegular | 0o644
	}
	if mode&modeTypeMask == 0 {
		return mode | modeRegular
	}
	return mode
}

// entry is e's line of a manifest, its digest not known yet.
func (a *archive) entry(e *zip.File) Entry {
	return Entry{Path: e.Name, Mode: entryMode(e), Size: int64(e.UncompressedSize64)}
}

// hashedName is e's name in the canonical digest. Where that is not the entry's name, the
// entry's comment holds it.
func hashedName(e *zip.File) string {
	if e.Comment != "" && strings.TrimLeft(path.Clean(e.Comment), "/") == e.Name {
		return e.Comment
	}
	return e.Name
}

// copyEntry inflates e into w, never more than it claims to hold, and returns its SHA-256.
func (a *archive) copyEntry(ctx context.Context, e *zip.File, w io.Writer, buf []byte) (Digest, error) {
	r, err := e.Open()
	if err != nil {
		return Digest{}, a.damaged(fmt.Sprintf("entry %q", e.Name), err)
	}
	defer r.Close()
	h := sha256.New()
	both := io.MultiWriter(h, w)
	n, err := io.CopyBuffer(both, io.LimitReader(ReaderWith(ctx, r), int64(e.UncompressedSize64)), buf)
	if err == nil {
		// The reader checks size and CRC-32 when asked for what follows the last byte.
		var extra int
		if extra, err = r.Read(buf[:1]); extra > 0 {
			err = errors.New("holds more than it claims")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) || ctx.Err() != nil {
			return Digest{}, err // writing failed, not reading
		}
		return Digest{}, a.damaged(fmt.Sprintf("entry %q", e.Name), err)
	}
	if n != int64(e.UncompressedSize64) {
		return Digest{}, a.damaged(fmt.Sprintf("entry %q: %d bytes of %d", e.Name, n, e.UncompressedSize64), nil)
	}
	var d Digest
	h.Sum(d[:0])
	return d, nil
}

const copyBuffer = 256 << 10

// scan reads all content and returns the manifest that the archive really holds. Entries that
// cannot be read are told to bad, if it is not nil, and have no digest then.
func (a *archive) scan(ctx context.Context, progress func(int64), bad func(name string, err error)) (*Manifest, error) {
	total := newCanonical()
	m := &Manifest{Entries: make([]Entry, 0, len(a.entries))}
	buf := make([]byte, copyBuffer)
	for _, e := range a.entries {
		entry := a.entry(e)
		total.file(hashedName(e), entry.Mode, entry.Size)
		var err error
		entry.SHA256, err = a.copyEntry(ctx, e, total, buf)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			if bad == nil {
				return nil, err
			}
			bad(e.Name, err)
		}
		m.Entries = append(m.Entries, entry)
		if progress != nil {
			progress(entry.Size)
		}
	}
	m.Digest = total.sum()
	return m, nil
}

// identify hashes the archive's bytes and checks its seal.
func (a *archive) identify(ctx context.Context) (*Archive, error) {
	h := sha256.New()
	body := a.size - int64(len(a.comment))
	buf := make([]byte, copyBuffer)
	if _, err := io.CopyBuffer(h, ReaderWith(ctx, io.NewSectionReader(a.file, 0, body)), buf); err != nil {
		return nil, err
	}
	seal := sealPrefix + fmt.Sprintf("%x", h.Sum(nil))
	h.Write([]byte(a.comment))
	id := &Archive{Size: a.size}
	h.Sum(id.SHA256[:0])
	if a.comment != "" && a.comment != seal {
		return id, a.damaged("its bytes do not match its seal", nil)
	}
	return id, nil
}
