package execute

import (
	"os"
	"os/exec"
)

func prepareSupervisor(*exec.Cmd) {}

// signalsItself: a process that was told why it is ended raises the signal in itself.
const signalsItself = true

func killSupervised(p *os.Process) { p.Kill() }

// signalSupervisor: Windows has no signal that asks another process to end.
func signalSupervisor(p *os.Process, _ os.Signal) { p.Kill() }
