//go:build unix && !linux

package processinfra

import "syscall"

// hangUpWithParent: only Linux tells a process that its parent was killed.
func hangUpWithParent(*syscall.SysProcAttr) {}

func stayOnThread() func() { return func() {} }
