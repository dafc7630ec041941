//go:build unix

package dockerinfra

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks an open file unless somebody else has; closing the file unlocks it.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
