package processinfra

import (
	"os"
	"path/filepath"
	"syscall"
)

// hangUpWithParent has Linux tell the process when its parent was killed.
func hangUpWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGHUP }

// claim marks a new directory as in use, until the file is closed or this process ends. The
// file gets its name only once it is locked: a directory without one is never swept.
func claim(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "unlocked"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err = tryLock(f); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, lockFile))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// tryLock locks the file, unless another process has.
func tryLock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// abandoned reports whether nobody holds the lock any more. Then the process whose directory
// it is has been told to end.
func abandoned(lock string) bool {
	f, err := os.OpenFile(lock, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return tryLock(f) == nil
}
