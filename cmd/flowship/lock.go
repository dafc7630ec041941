package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/flowship/flowship/bundle"
)

// writeLock puts the lock file in place whole, or leaves what was there.
func writeLock(path string, lock *bundle.Lock) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".flowship-")
	if err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("write lock file: %w", err)
		}
	}()
	if err = lock.Write(f); err != nil {
		return err
	}
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
