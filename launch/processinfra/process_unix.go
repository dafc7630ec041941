//go:build unix

package processinfra

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/flowship/flowship/launch"
)

var stopSignals = [...]os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL}

// ownGroup also makes a session: in a background group of this one, a process that opens the
// terminal would be stopped, and wait for ever. Without a terminal it gets an error at once.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	hangUpWithParent(cmd.SysProcAttr)
}

// signalGroup also continues processes that are stopped: they would not notice the signal.
func signalGroup(p *os.Process, s os.Signal) error {
	err := syscall.Kill(-p.Pid, s.(syscall.Signal))
	if err == nil {
		err = syscall.Kill(-p.Pid, syscall.SIGCONT)
	}
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// awaitGroup waits a moment for a killed group to be gone, because it may hold the working
// directory. Not for long: processes count as long as their new parent does not care for its
// children.
func awaitGroup(pid int) {
	deadline := time.Now().Add(200 * time.Millisecond)
	for syscall.Kill(-pid, 0) == nil && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
}

func exitOf(s *os.ProcessState) launch.Exit {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return launch.Exit{Code: 128 + int(w.Signal()), Signal: int(w.Signal())}
	}
	return launch.Exit{Code: s.ExitCode()}
}

func splitLine(line string) ([]string, error) { return launch.Split(line) }
