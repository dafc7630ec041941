package submit

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// detached: neither the console's signals nor its end reach it.
func detached(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS}
}
