//go:build unix

package bundle

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lstat is os.Lstat without the garbage: packing asks for every file of a tree.
func lstat(path string) (fingerprint, fs.FileMode, error) {
	var st unix.Stat_t
	if err := retryEINTR(func() error { return unix.Lstat(path, &st) }); err != nil {
		return fingerprint{}, 0, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	f, mode := fromStat(&st)
	return f, mode, nil
}

func fstat(f *rawFile) (fingerprint, fs.FileMode, error) {
	var st unix.Stat_t
	if err := retryEINTR(func() error { return unix.Fstat(f.fd, &st) }); err != nil {
		return fingerprint{}, 0, &fs.PathError{Op: "fstat", Path: f.path, Err: err}
	}
	fp, mode := fromStat(&st)
	return fp, mode, nil
}

func fromStat(st *unix.Stat_t) (fingerprint, fs.FileMode) {
	var kind fs.FileMode
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		kind = fs.ModeDir
	case unix.S_IFLNK:
		kind = fs.ModeSymlink
	case unix.S_IFIFO:
		kind = fs.ModeNamedPipe
	case unix.S_IFSOCK:
		kind = fs.ModeSocket
	default:
		kind = fs.ModeDevice
	}
	return fingerprint{
		mode:  Mode(st.Mode),
		size:  st.Size,
		mtime: st.Mtim.Nano(),
		ctime: st.Ctim.Nano(),
		ino:   uint64(st.Ino),
		dev:   uint64(st.Dev),
	}, kind
}

// rawFile is a file read by descriptor: an os.File would cost three allocations and an attempt
// to register it with the poller for each of a hundred thousand files.
type rawFile struct {
	fd   int
	path string
}

// openRaw opens a regular file for reading. It does not follow a link that was put in the
// file's place, and does not block on a pipe.
func openRaw(path string) (*rawFile, error) {
	var fd int
	err := retryEINTR(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &rawFile{fd: fd, path: path}, nil
}

// readAt fills p from offset and returns how much there was; less than len(p) means the end.
func (f *rawFile) readAt(p []byte, offset int64) (int, error) {
	n := 0
	for n < len(p) {
		var m int
		err := retryEINTR(func() (err error) {
			m, err = unix.Pread(f.fd, p[n:], offset+int64(n))
			return err
		})
		if err != nil {
			return n, &fs.PathError{Op: "read", Path: f.path, Err: err}
		}
		if m == 0 {
			break
		}
		n += m
	}
	return n, nil
}

func (f *rawFile) close() error { return unix.Close(f.fd) }

func retryEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// isMissing reports whether err says that there is no such path, as Python's pathlib judges it.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EBADF)
}

func isLoop(err error) bool { return errors.Is(err, syscall.ELOOP) }

// syncDir makes a rename in dir last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
