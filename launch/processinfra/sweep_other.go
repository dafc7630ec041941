//go:build !linux

package processinfra

import "os"

// Where a process outlives a parent that was killed, its directory must as well.

func claim(parent string) (dir string, lock *os.File, err error) {
	dir, err = os.MkdirTemp(parent, runPrefix)
	return dir, nil, err
}

func sweep(string) {}
