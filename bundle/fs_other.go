//go:build !unix

package bundle

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

func lstat(path string) (fingerprint, fs.FileMode, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return fingerprint{}, 0, err
	}
	f, mode := fromInfo(info)
	return f, mode, nil
}

func fstat(f *rawFile) (fingerprint, fs.FileMode, error) {
	info, err := f.file.Stat()
	if err != nil {
		return fingerprint{}, 0, err
	}
	fp, mode := fromInfo(info)
	return fp, mode, nil
}

// fromInfo has no ctime and no inode: here the cache rests on size and mtime alone.
func fromInfo(info fs.FileInfo) (fingerprint, fs.FileMode) {
	return fingerprint{
		mode:  modeRegular | Mode(info.Mode().Perm()),
		size:  info.Size(),
		mtime: info.ModTime().UnixNano(),
	}, info.Mode().Type()
}

type rawFile struct {
	file *os.File
}

func openRaw(path string) (*rawFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &rawFile{file: f}, nil
}

func (f *rawFile) readAt(p []byte, offset int64) (int, error) {
	n, err := f.file.ReadAt(p, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (f *rawFile) close() error { return f.file.Close() }

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func isLoop(error) bool { return false }

func syncDir(string) error { return nil }
