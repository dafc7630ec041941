package main

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// stopSignals end testbed, after its command.
var stopSignals = []os.Signal{os.Interrupt}

// ownGroup keeps Ctrl-C of the console from a command.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// signalGroup sends Ctrl-Break to the group of a process that [ownGroup] was applied to; Ctrl-C does not reach another group.
func signalGroup(p *os.Process, _ os.Signal) error {
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(p.Pid))
}

// stopGroup ends a process and those that it started. done is closed when it has ended and been waited for.
func stopGroup(p *os.Process, done <-chan struct{}, grace time.Duration) {
	select {
	case <-done:
		return
	default:
	}
	signalGroup(p, os.Interrupt)
	select {
	case <-done:
	case <-time.After(grace):
		// Windows knows no group that could be ended as one; taskkill follows the tree.
		exec.Command("taskkill", "/T", "/F", "/PID", strconv.Itoa(p.Pid)).Run()
	}
}

func exitCode(s *os.ProcessState) int {
	return s.ExitCode()
}

// tryLock locks an open file unless another process has; closing the file unlocks it.
func tryLock(f *os.File) (bool, error) {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}
