package storage

import (
	"os"

	"golang.org/x/sys/unix"
)

// startFlush asks the disk to begin with a part of the file. It promises nothing.
func startFlush(f *os.File, at, n int64) {
	unix.SyncFileRange(int(f.Fd()), at, n, unix.SYNC_FILE_RANGE_WRITE)
}
