package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Bundle is a bundle that was found on disk. Opening it parses the document; nothing is
// verified yet.
type Bundle struct {
	Document     *Document // nil for a sidecar alone
	Digest       Digest    // of the document's bytes
	DocumentPath string    // "" for a sidecar alone
	ArchivePath  string    // "" when no files travel
	ProgramPath  string    // "" when the document has no program
}

// Open finds the bundle at path: a directory with bundle.json, a document, or a sidecar zip
// alone. A document's sidecar and program are sought under their keys beside the
// document.
func Open(path string) (*Bundle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	if info.IsDir() {
		document := filepath.Join(path, documentName)
		if _, err := os.Stat(document); errors.Is(err, fs.ErrNotExist) {
			return nil, &Error{Kind: KindNotFound, Path: path, Reason: "the directory holds no " + documentName}
		}
		return openDocument(document)
	}
	archive, err := looksLikeArchive(path)
	if err != nil {
		return nil, err
	}
	if archive {
		return &Bundle{ArchivePath: path}, nil
	}
	return openDocument(path)
}

func looksLikeArchive(path string) (bool, error) {
	f, err := openRegular(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	start := make([]byte, 2)
	n, _ := io.ReadFull(f, start)
	return bytes.Equal(start[:n], []byte("PK")) || strings.EqualFold(filepath.Ext(path), filesKeySuffix), nil
}

func openDocument(path string) (*Bundle, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	b := &Bundle{DocumentPath: path}
	b.Document, err = ReadDocument(io.TeeReader(f, h))
	if err != nil {
		return nil, renamed(err, path)
	}
	h.Sum(b.Digest[:0])
	if b.Document.FilesKey != "" {
		b.ArchivePath = filepath.Join(filepath.Dir(path), filepath.FromSlash(b.Document.FilesKey))
	}
	if f := b.Document.Flowship; f != nil && f.Program != nil {
		if _, err := ParseProgramKey(f.Program.Key); err == nil {
			b.ProgramPath = filepath.Join(filepath.Dir(path), filepath.FromSlash(f.Program.Key))
		}
	}
	return b, nil
}

// Manifest returns what the bundle holds: as the document says or, where it does not, as the
// sidecar's content says.
func (b *Bundle) Manifest(ctx context.Context) (*Manifest, error) {
	if b.Document != nil {
		if m := b.Document.Manifest(); m != nil {
			return m, nil
		}
	}
	if b.ArchivePath == "" {
		return &Manifest{}, nil
	}
	a, err := openArchive(b.ArchivePath)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return a.scan(ctx, nil, nil)
}

// wantedKey returns the digest that the sidecar's content must have: the document's, or the one
// in the name that a sidecar alone has. The zero Digest means that nothing says.
func (b *Bundle) wantedKey() Digest {
	key := filesKeyPrefix + filepath.Base(b.ArchivePath)
	if b.Document != nil {
		key = b.Document.FilesKey
	}
	d, err := ParseFilesKey(key)
	if err != nil {
		return Digest{}
	}
	return d
}
