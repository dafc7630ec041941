package processinfra

import (
	"runtime"
	"syscall"
)

// hangUpWithParent has Linux tell the process when its parent was killed.
func hangUpWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGHUP }

// stayOnThread keeps the goroutine on its thread until the function is called that it returns.
// For Linux, the parent of a process is a thread, and threads of this program may end before it.
func stayOnThread() func() {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}
