package bundle

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
)

// temporaryPrefix starts the names of files and directories that are not whole yet.
const temporaryPrefix = ".flowship-"

func temporaryName(dir string) string {
	return filepath.Join(dir, temporaryPrefix+strconv.FormatUint(rand.Uint64(), 36))
}

// writeAtomic makes the file path by writing to a temporary name beside it. Whatever fails,
// path holds what it held before. With durable, it survives a power failure once written. The
// umask applies to perm.
func writeAtomic(path string, perm os.FileMode, durable bool, write func(*os.File) error) error {
	return writeAs(filepath.Dir(path), perm, durable, func(f *os.File) (string, error) { return path, write(f) })
}

// writeAs is writeAtomic for a file in dir whose path write knows only once it has written it.
func writeAs(dir string, perm os.FileMode, durable bool, write func(*os.File) (path string, err error)) (err error) {
	var f *os.File
	for {
		f, err = os.OpenFile(temporaryName(dir), os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	path, err := write(f)
	if err != nil {
		return err
	}
	if durable {
		if err = f.Sync(); err != nil {
			return err
		}
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	if durable {
		return syncDir(dir)
	}
	return nil
}
