//go:build unix && !linux && !darwin

package processinfra

import (
	"os"
	"syscall"
)

// collect waits for the process and kills what is left of its group. While there is anything
// left, the group's number belongs to nobody else.
func (p *process) collect() (*os.ProcessState, error) {
	state, err := p.cmd.Process.Wait()
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	awaitGroup(p.cmd.Process.Pid)
	return state, err
}
