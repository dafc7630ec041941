//go:build unix

package execute

import (
	"os"
	"os/signal"
	"syscall"
)

// PassedOn are the signals that an executor passes on to what it runs, for [Options]. A hangup is one of them
// unless it was ignored from the start, by nohup.
func PassedOn() []os.Signal {
	s := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
	if !signal.Ignored(syscall.SIGHUP) {
		s = append(s, syscall.SIGHUP)
	}
	return s
}
