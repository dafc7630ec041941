//go:build unix && !linux

package execute

import "syscall"

// dieWithExecutor: only Linux ends a process with its parent.
func dieWithExecutor(*syscall.SysProcAttr) {}

func endWithExecutor(*syscall.SysProcAttr) {}
