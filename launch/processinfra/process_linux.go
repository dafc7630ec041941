package processinfra

import "syscall"

// hangUpWithParent has Linux tell the process when its parent was killed.
func hangUpWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGHUP }
