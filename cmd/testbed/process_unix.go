//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// stopSignals end testbed, after its command.
var stopSignals = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}

// ownGroup puts a command and all that it starts into a process group that can be stopped as one.
func ownGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

// signalGroup sends a signal to the group of a process that [ownGroup] was applied to.
func signalGroup(p *os.Process, s os.Signal) error {
	return syscall.Kill(-p.Pid, s.(syscall.Signal))
}

// stopGroup ends every process of a group: TERM, after the grace period KILL. done is closed when its first process has ended and been
// waited for.
func stopGroup(p *os.Process, done <-chan struct{}, grace time.Duration) {
	signalGroup(p, syscall.SIGTERM)
	if !groupEnds(p, done, grace) {
		signalGroup(p, syscall.SIGKILL)
		groupEnds(p, done, grace)
	}
}

// groupEnds reports whether the group ends in time. While one process of the group exists, its number belongs to nobody else.
func groupEnds(p *os.Process, done <-chan struct{}, within time.Duration) bool {
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			if errors.Is(syscall.Kill(-p.Pid, 0), syscall.ESRCH) {
				return true
			}
		default:
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			return false
		}
	}
}

// exitCode is the code of a shell: of the process, or 128 and the signal.
func exitCode(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return s.ExitCode()
}

// tryLock locks an open file unless another process has; closing the file unlocks it.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
