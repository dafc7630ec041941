//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// fixUmask makes the modes of files that scripts write known: they are part of digests.
func fixUmask() { syscall.Umask(0o022) }

func scriptCondition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Getuid() == 0, nil
	case "s3":
		return haveServer("s3", "FLOWSHIP_TEST_S3")
	case "prefect":
		return haveServer("prefect", "FLOWSHIP_TEST_PREFECT_API")
	case "secured":
		return haveServer("prefect-secured", "FLOWSHIP_TEST_PREFECT_SECURED")
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// cmdFIFO makes a named pipe.
func cmdFIFO(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fifo NAME")
	}
	ts.Check(syscall.Mkfifo(ts.MkAbs(args[0]), 0o666))
}
