//go:build unix

package storage

import (
	"errors"
	"os"
	"syscall"
)

// syncDir forces the names in a directory to the disk. Some network file systems cannot, and
// say EINVAL or ENOTSUP.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}
