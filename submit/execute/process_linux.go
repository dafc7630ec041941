package execute

import "syscall"

// dieWithExecutor: without the executor nobody would tell how the command ended.
func dieWithExecutor(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// endWithExecutor asks a process that has others to end to do so when the executor is gone.
func endWithExecutor(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }
