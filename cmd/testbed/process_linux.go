package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent has a process stopped when testbed is killed and cannot do it.
func dieWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
}
