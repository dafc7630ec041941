//go:build unix

package execute

import (
	"os"
	"os/exec"
	"syscall"
)

// prepareSupervisor gives Prefect's process a group of its own, so that what is typed on a
// terminal reaches it once. It looks after the flow's process, so it may end by itself.
func prepareSupervisor(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endWithExecutor(cmd.SysProcAttr)
}

// signalSupervisor passes a signal on as it would have come: an interrupt of the terminal goes to
// all processes, any other one to the one that was started.
func signalSupervisor(p *os.Process, s os.Signal) {
	if s == os.Interrupt {
		syscall.Kill(-p.Pid, syscall.SIGINT)
		return
	}
	p.Signal(s)
}
