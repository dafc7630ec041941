package execute

import "syscall"

// dieWithExecutor: without the executor nobody would tell how the command ended.
func dieWithExecutor(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
