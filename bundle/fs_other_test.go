//go:build !unix

package bundle_test

import (
	"errors"
	"io/fs"
	"os"
)

func mkfifo(string) error                  { return errors.ErrUnsupported }
func chmod(path string, mode uint32) error { return os.Chmod(path, fs.FileMode(mode)) }
func umask(mask int) int                   { return mask }
