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

// signalsItself: a process that was told why it is ended waits for the signal.
const signalsItself = false

// killSupervised kills a process with those that it has started and that have not left it.
func killSupervised(p *os.Process) { syscall.Kill(-p.Pid, syscall.SIGKILL) }

// signalSupervisor passes a signal on as it would have come: an interrupt of the terminal goes to
// all processes, any other one to the one that was started.
func signalSupervisor(p *os.Process, s os.Signal) {
	if s == os.Interrupt {
		syscall.Kill(-p.Pid, syscall.SIGINT)
		return
	}
	p.Signal(s)
}
