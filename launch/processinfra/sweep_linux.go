package processinfra

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lockSuffix makes the name of the lock from that of its directory. The lock is made before the
// directory and removed after it: no program can be killed at a moment that leaves a directory
// without one.
const lockSuffix = ".lock"

// claim makes a directory whose lock is held. Another program's sweep may have come between
// the making and the locking of a file; then the next one is tried.
func claim(parent string) (dir string, lock *os.File, err error) {
	for {
		if lock, err = os.CreateTemp(parent, runPrefix+"*"+lockSuffix); err != nil {
			return "", nil, err
		}
		if err = tryLock(lock); err == nil {
			break
		}
		lock.Close()
		if !errors.Is(err, errInUse) {
			os.Remove(lock.Name())
			return "", nil, err
		}
	}
	dir = strings.TrimSuffix(lock.Name(), lockSuffix)
	if err := os.Mkdir(dir, 0o700); err != nil {
		discard(dir, lock)
		return "", nil, err
	}
	return dir, lock, nil
}

var errInUse = errors.New("the lock is held or has been removed")

// tryLock locks the file. [errInUse] says that somebody else has, or had and removed it.
func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errInUse
	}
	if err != nil {
		return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	locked, err := f.Stat()
	if err != nil {
		return err
	}
	if named, err := os.Lstat(f.Name()); err != nil || !os.SameFile(locked, named) {
		return errInUse
	}
	return nil
}

// sweep removes the directories whose lock nobody holds any more: neither the program that
// started a job nor anything that the job started.
func sweep(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return // making a directory there will tell
	}
	for _, e := range entries {
		dir, isLock := strings.CutSuffix(filepath.Join(parent, e.Name()), lockSuffix)
		if !isLock || !strings.HasPrefix(e.Name(), runPrefix) {
			continue
		}
		lock, err := os.OpenFile(dir+lockSuffix, os.O_RDWR|syscall.O_NOFOLLOW, 0)
		if err != nil {
			continue // removed meanwhile, or another user's
		}
		if tryLock(lock) == nil {
			discard(dir, lock)
		}
		lock.Close()
	}
}
