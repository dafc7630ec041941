package bundle

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// BuildOptions are the options of [Build]; nil is the default.
type BuildOptions struct {
	Cache    *Cache // told what the files hashed to
	Progress func(bytes int64)
	// Program is the path of a Go flow's executable. The invocation's Program says what it runs
	// on; its key is what the bytes make it.
	Program string
}

// Built is a bundle in a directory.
type Built struct {
	DocumentPath string
	Digest       Digest // of the document
	Document     *Document
	Manifest     *Manifest
	Archive      *Archive // nil when no files travel
}

// Build packs the collection and writes the invocation's bundle into dir, which is made if need
// be: the sidecar and the program under their keys, then the document as bundle.json. Prefect's own
// `python -m prefect.bundles.execute --key DIR/bundle.json` runs what is there.
func Build(ctx context.Context, c *Collection, inv Invocation, dir string, opts *BuildOptions) (*Built, error) {
	if opts == nil {
		opts = &BuildOptions{}
	}
	b := &Built{DocumentPath: filepath.Join(dir, documentName), Manifest: &Manifest{Digest: newCanonical().sum()}}
	if len(c.Files) > 0 {
		if err := b.pack(ctx, c, dir, opts); err != nil {
			return nil, err
		}
	} else if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, writeError(dir, err)
	}
	if opts.Program != "" {
		key, err := putProgram(ctx, opts.Program, dir)
		if err != nil {
			return nil, err
		}
		program := Program{Key: key}
		if inv.Program != nil {
			program.OS, program.Arch = inv.Program.OS, inv.Program.Arch
		}
		inv.Program = &program
	}
	inv.Include, inv.Source = c.Include, c.entrypoint != ""
	var err error
	if b.Document, err = NewDocument(inv, b.Manifest, b.Archive); err != nil {
		return nil, err
	}
	err = writeAtomic(b.DocumentPath, 0o666, false, func(f *os.File) (err error) {
		b.Digest, err = b.Document.Write(f)
		return err
	})
	if err != nil {
		return nil, writeError(b.DocumentPath, err)
	}
	return b, nil
}

// pack writes the sidecar, whose name is known only when it has been written.
func (b *Built) pack(ctx context.Context, c *Collection, dir string, opts *BuildOptions) error {
	files := filepath.Join(dir, filepath.FromSlash(filesKeyPrefix))
	if err := os.MkdirAll(files, 0o777); err != nil {
		return writeError(files, err)
	}
	started := time.Now()
	var packed *Packed
	err := writeAs(files, 0o666, false, func(f *os.File) (string, error) {
		if err := c.packInto(ctx, f, &PackOptions{Progress: opts.Progress}, &packed); err != nil {
			return "", err
		}
		return filepath.Join(dir, filepath.FromSlash(packed.Manifest.FilesKey())), nil
	})
	if err != nil {
		os.Remove(files) // if it is empty: it was made for nothing
		return writeError(files, err)
	}
	b.Manifest, b.Archive = packed.Manifest, packed.Archive
	if opts.Cache != nil {
		opts.Cache.store(c, packed.Manifest.Digest, started)
	}
	return nil
}
