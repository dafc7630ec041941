package execute

import (
	"os"

	"golang.org/x/sys/unix"
)

// widen makes the pipe hold more, so that who writes and who reads wait for each other less
// often. That it may not is of no account.
func widen(pipe *os.File) {
	if c, err := pipe.SyscallConn(); err == nil {
		c.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, maxLeftover) })
	}
}
