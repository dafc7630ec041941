//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// ignoreFileSizeSignal makes a write beyond the file size limit an error as any other: the Go
// runtime would end the process, and what it had half written would stay. The signal is caught
// rather than ignored, because a command that is run would inherit that.
func ignoreFileSizeSignal() { signal.Notify(make(chan os.Signal, 1), syscall.SIGXFSZ) }

// cancelSignals end what is under way in good order. A hangup that was ignored from the start,
// by nohup, stays ignored.
func cancelSignals() []os.Signal {
	s := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT}
	if !signal.Ignored(syscall.SIGHUP) {
		s = append(s, syscall.SIGHUP)
	}
	return s
}
