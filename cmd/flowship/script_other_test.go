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
		return haveServer("s3", "FLOWSHIP_TEST_S3")
	case "prefect":
		return haveServer("prefect", "FLOWSHIP_TEST_PREFECT_API")
	case "secured":
		return haveServer("prefect-secured", "FLOWSHIP_TEST_PREFECT_SECURED")
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

func cmdFIFO(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("this system has no named pipes in directories")
}
