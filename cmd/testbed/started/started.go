// Package started gives tests the servers that testbed has started for them.
//
//	u, err := url.Parse(started.Server(t, "s3", "FLOWSHIP_TEST_S3"))
//
// A test whose server is not there is skipped, so that go test alone is of use. It fails where
// testbed says that the server must be there: it was asked for, and the machine can have it.
package started

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Server returns what the variable says of the server with this name, as testbed's -servers has it.
func Server(t testing.TB, name, variable string) string {
	t.Helper()
	there, err := Has(name, variable)
	if err != nil {
		t.Fatal(err)
	}
	if !there {
		t.Skipf("needs go run ./cmd/testbed, which starts %s", name)
	}
	return os.Getenv(variable)
}

// Has reports whether the server is there. That it is not, and must be, is an error.
func Has(name, variable string) (bool, error) {
	if os.Getenv(variable) != "" {
		return true, nil
	}
	if !listed("FLOWSHIP_TEST_UNAVAILABLE", name) && (required() || listed("FLOWSHIP_TEST_SERVERS", name)) {
		return false, errors.New(variable + " is not set")
	}
	return false, nil
}

// Python returns the interpreter that has the pinned Prefect.
func Python(t testing.TB) string {
	t.Helper()
	return Server(t, "prefect", "FLOWSHIP_TEST_PYTHON")
}

// Program returns the path of a program of the machine's own. Only with all servers it must be there.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if required() {
		t.Fatal(err)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func required() bool { return os.Getenv("FLOWSHIP_TEST_REQUIRED") != "" }

func listed(variable, name string) bool {
	return slices.Contains(strings.Split(os.Getenv(variable), ","), name)
}
