package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// folder is a [Bucket] whose objects are files. Only their owner may read them.
type folder struct{ dir string }

func openFolder(raw string, create bool) (*folder, error) {
	dir, err := FolderPath(raw)
	if err != nil {
		return nil, err
	}
	if create {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", dir)
	}
	return &folder{dir}, nil
}

// path is where an object is.
func (b *folder) path(key string) (string, error) {
	if runtime.GOOS == "windows" && strings.ContainsAny(key, `<>:"|?*`) {
		return "", fmt.Errorf("%q cannot be the name of a file here", key)
	}
	return filepath.Join(b.dir, filepath.FromSlash(key)), nil
}

// stat finds an object; a directory is none.
func (b *folder) stat(key string) (path string, info fs.FileInfo, err error) {
	if path, err = b.path(key); err != nil {
		return "", nil, err
	}
	info, err = os.Stat(path)
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	return path, info, missing(err)
}

// missing has an error of the system say that there is no such object.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &DriverError{Kind: ErrNotFound, Err: err}
	}
	return err
}

func (b *folder) Attributes(_ context.Context, key string) (*Attributes, error) {
	_, info, err := b.stat(key)
	if err != nil {
		return nil, err
	}
	return &Attributes{Size: info.Size(), ModTime: info.ModTime()}, nil
}

// folderReader reads a part of a file.
type folderReader struct {
	io.Reader
	file *os.File
	info fs.FileInfo
}

func (r *folderReader) Close() error       { return r.file.Close() }
func (r *folderReader) Size() int64        { return r.info.Size() }
func (r *folderReader) ModTime() time.Time { return r.info.ModTime() }

func (b *folder) NewRangeReader(_ context.Context, key string, offset, length int64) (Reader, error) {
	path, _, err := b.stat(key)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, missing(err)
	}
	r := &folderReader{Reader: f, file: f}
	if r.info, err = f.Stat(); err == nil && offset > 0 {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if length >= 0 {
		r.Reader = io.LimitReader(f, length)
	}
	return r, nil
}

// flushEvery is how much is written to a folder before the disk is asked to begin with it.
const flushEvery = 16 << 20

// Upload writes beside the object, because a rename does not cross file systems, and gives the file
// its name when it is on the disk.
func (b *folder) Upload(ctx context.Context, key string, r io.Reader, opts *WriterOptions) (err error) {
	path, err := b.path(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(fmt.Sprintf("%s.%016x.tmp", path, rand.Uint64()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(file.Name())
		}
	}()
	if err := fill(file, r); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, err := os.Stat(path); err == nil && opts.IfNotExist {
		return &DriverError{Kind: ErrConflict, Err: fs.ErrExist}
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return b.syncNames(filepath.Dir(path))
}

// fill writes what r holds, and forces it to the disk.
func fill(file *os.File, r io.Reader) error {
	for at := int64(0); ; {
		n, err := io.CopyN(file, r, flushEvery)
		// The disk works while more comes; at the end there is little left to wait for.
		startFlush(file, at, n)
		at += n
		if err == io.EOF {
			return file.Sync()
		}
		if err != nil {
			return err
		}
	}
}

// syncNames forces the names in a directory to the disk, and its own name, which may be new.
func (b *folder) syncNames(dir string) error {
	for {
		if err := syncDir(dir); err != nil {
			return err
		}
		parent := filepath.Dir(dir)
		if rel, err := filepath.Rel(b.dir, parent); err != nil || !filepath.IsLocal(rel) || parent == dir {
			return nil
		}
		dir = parent
	}
}

func (b *folder) List(ctx context.Context, prefix string) iter.Seq2[*Object, error] {
	return func(yield func(*Object, error) bool) {
		b.list(ctx, "", prefix, yield)
	}
}

// list yields what is below a directory, whose key is empty or ends with a slash. It reports
// whether more is wanted.
func (b *folder) list(ctx context.Context, dir, prefix string, yield func(*Object, error) bool) bool {
	entries, err := os.ReadDir(filepath.Join(b.dir, filepath.FromSlash(dir)))
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return dir != "" && errors.Is(err, fs.ErrNotExist) || yield(nil, missing(err))
	}
	key := func(e fs.DirEntry) string {
		if e.IsDir() {
			return dir + e.Name() + "/"
		}
		return dir + e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(key(a), key(b)) })
	for _, e := range entries {
		key := key(e)
		if e.IsDir() {
			if (strings.HasPrefix(key, prefix) || strings.HasPrefix(prefix, key)) && !b.list(ctx, key, prefix, yield) {
				return false
			}
			continue
		}
		if !strings.HasPrefix(key, prefix) || isTemporary(key) {
			continue
		}
		info, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted meanwhile
		case err != nil:
			return yield(nil, err)
		case !yield(&Object{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil):
			return false
		}
	}
	return true
}

func (b *folder) Delete(_ context.Context, key string) error {
	path, _, err := b.stat(key)
	if err != nil {
		return err
	}
	return missing(os.Remove(path))
}

func (b *folder) SignedURL(context.Context, string, string, time.Duration) (string, error) {
	return "", &DriverError{Kind: ErrUnsigned, Err: errors.New("a folder has no addresses")}
}

func (b *folder) Exists(context.Context) (bool, error) {
	_, err := os.Stat(b.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (b *folder) Close() error { return nil }
