//go:build unix

package execute

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// prepare gives the command a process group of its own, unless there is one already that
// somebody else looks after.
func (p *process) prepare() {
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !p.Grouped}
	dieWithExecutor(p.cmd.SysProcAttr)
}

// send signals the command and its children. In a group that is shared with the executor, a
// signal reaches the executor as well, so it kills only the command: whoever looks after the
// group kills the rest.
func (p *process) send(s os.Signal) {
	signal := s.(syscall.Signal)
	switch {
	case !p.Grouped:
		syscall.Kill(-p.cmd.Process.Pid, signal)
	case signal == syscall.SIGKILL:
		p.cmd.Process.Kill()
	default:
		syscall.Kill(0, signal)
		p.sendStray(s)
	}
}

// sendStray signals a command that left the group, and so gets nothing that the group gets. A
// command that is still in it would get the signal twice, which often means something else.
func (p *process) sendStray(s os.Signal) {
	pid := p.cmd.Process.Pid
	switch group, err := syscall.Getpgid(pid); {
	case err != nil || group == syscall.Getpgrp():
	case group == pid:
		syscall.Kill(-pid, s.(syscall.Signal))
	default:
		p.cmd.Process.Signal(s)
	}
}

// clear kills what the command left running.
func (p *process) clear() {
	if !p.Grouped {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
}

func exitOf(s *os.ProcessState) (code int, signal string) {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return signalCode(w.Signal()), unix.SignalName(w.Signal())
	}
	return s.ExitCode(), ""
}

func signalCode(s os.Signal) int { return 128 + int(s.(syscall.Signal)) }

// processCode is the exit code as Python counts: a signal is a negative one.
func processCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return -int(w.Signal())
	}
	return s.ExitCode()
}
