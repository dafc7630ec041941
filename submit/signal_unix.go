//go:build unix

package submit

import (
	"os"
	"os/signal"
	"syscall"
)

// passedOn are the signals that concern the command. A hangup that was ignored from the start,
// by nohup, stays ignored.
func passedOn() []os.Signal {
	s := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
	if !signal.Ignored(syscall.SIGHUP) {
		s = append(s, syscall.SIGHUP)
	}
	return s
}
