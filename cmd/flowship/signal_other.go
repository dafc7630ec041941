//go:build !unix

package main

import (
	"os"
	"syscall"
)

func ignoreFileSizeSignal() {}

// cancelSignals end what is under way in good order.
func cancelSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }
