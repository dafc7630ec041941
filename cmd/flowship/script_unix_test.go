//go:build unix

package main

import (
	"os"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// fixUmask makes the modes of files that scripts write known: they are part of digests.
func fixUmask() { syscall.Umask(0o022) }

func isRoot() bool { return os.Getuid() == 0 }

// cmdFIFO makes a named pipe.
func cmdFIFO(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fifo NAME")
	}
	ts.Check(syscall.Mkfifo(ts.MkAbs(args[0]), 0o666))
}
