//go:build unix

package submit

import (
	"os/exec"
	"syscall"
)

// detached: a session of its own, so that neither the terminal's signals nor its end reach it.
func detached(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
