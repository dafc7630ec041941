//go:build unix

package started

import (
	"os"
	"syscall"
	"testing"
)

// Share keeps everybody else from having a server alone until the test ends. The file is one that
// only this server has, such as its configuration.
func Share(t testing.TB, file string) {
	t.Helper()
	take(t, file, false)
}

// Alone waits until no test of any package shares the server, and has it alone until the test
// ends. It is for tests that break what others may rely on.
func Alone(t testing.TB, file string) {
	t.Helper()
	take(t, file, true)
}

func take(t testing.TB, file string, alone bool) {
	t.Helper()
	release, err := Take(file, alone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
}

// Take is [Share] or [Alone] for who is no test, and has the server until release is called.
func Take(file string, alone bool) (release func(), err error) {
	f, err := os.OpenFile(file+".turn", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_SH
	if alone {
		how = syscall.LOCK_EX
	}
	for {
		if err := syscall.Flock(int(f.Fd()), how); err == nil {
			return func() { f.Close() }, nil
		} else if err != syscall.EINTR {
			f.Close()
			return nil, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}
