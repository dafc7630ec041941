package processinfra

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/windows"

	"github.com/flowship/flowship/launch"
)

// Windows has no signal that asks another process to end.
var stopSignals = [...]os.Signal{os.Kill}

func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// signalGroup ends the process and those that it started; taskkill follows the tree.
func signalGroup(p *os.Process, _ os.Signal) error {
	if exec.Command("taskkill", "/T", "/F", "/PID", strconv.Itoa(p.Pid)).Run() == nil {
		return nil
	}
	return p.Kill()
}

// collect waits for the process. Once it has ended, nothing leads to its children any more.
func (p *process) collect() (*os.ProcessState, error) {
	state, err := p.cmd.Process.Wait()
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	return state, err
}

func exitOf(s *os.ProcessState) launch.Exit { return launch.Exit{Code: s.ExitCode()} }

func stayOnThread() func() { return func() {} }

// splitLine takes apart what [launch.Join] made, and anything else as Windows does, where a
// backslash is part of a path.
func splitLine(line string) ([]string, error) {
	if words, err := launch.Split(line); err == nil && (len(words) == 0 || launch.Join(words) == line) {
		return words, nil
	}
	return windows.DecomposeCommandLine(line)
}
