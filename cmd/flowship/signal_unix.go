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
