//go:build linux || darwin

package processinfra

import (
	"os"
	"syscall"
	"unsafe"
)

// collect waits for the process, kills what is left of its group, and reaps it, in this order:
// until it is reaped, its number, which is the group's, belongs to nobody else.
func (p *process) collect() (*os.ProcessState, error) {
	pid := p.cmd.Process.Pid
	if waitable(pid) == nil {
		syscall.Kill(-pid, syscall.SIGKILL)
	}
	p.mu.Lock()
	state, err := p.cmd.Process.Wait()
	p.reaped = true
	p.mu.Unlock()
	awaitGroup(pid)
	return state, err
}

// waitable returns when a child has ended, and leaves it to be reaped. Package os waits in the
// same way.
func waitable(pid int) error {
	const byPID = 1        // P_PID
	var siginfo [16]uint64 // siginfo_t has 128 bytes at most
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(pid),
			uintptr(unsafe.Pointer(&siginfo)), syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return errno
		}
	}
}
