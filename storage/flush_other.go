//go:build !linux

package storage

import "os"

// startFlush asks the disk to begin with a part of the file, where the system can.
func startFlush(*os.File, int64, int64) {}
