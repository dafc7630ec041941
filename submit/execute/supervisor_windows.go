package execute

import (
	"os"
	"os/exec"
)

func prepareSupervisor(*exec.Cmd) {}

// signalSupervisor: Windows has no signal that asks another process to end.
func signalSupervisor(p *os.Process, _ os.Signal) { p.Kill() }
