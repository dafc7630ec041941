//go:build !unix

package main

import (
	"fmt"

	"github.com/rogpeppe/go-internal/testscript"
)

func fixUmask() {}

func scriptCondition(name string) (bool, error) {
	switch name {
	case "root":
		return false, nil
	case "s3":
		return haveS3()
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

func cmdFIFO(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("this system has no named pipes in directories")
}
