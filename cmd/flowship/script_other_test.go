//go:build !unix

package main

import (
	"github.com/rogpeppe/go-internal/testscript"
)

func fixUmask() {}

func isRoot() bool { return false }

func cmdFIFO(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("this system has no named pipes in directories")
}
