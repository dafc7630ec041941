//go:build unix

package storage_test

import (
	"errors"
	"os/signal"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A limit on the size of files fails writes as a full disk does.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	s := openFolder(t, dir)
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = 1 << 16
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	content := strings.Repeat("x", 1<<17)
	_, err := s.Put(t.Context(), "k", strings.NewReader(content), describe(content))
	if restored := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); restored != nil {
		t.Fatal(restored)
	}
	if !errors.Is(err, unix.EFBIG) {
		t.Errorf("error %v, want EFBIG", err)
	}
	if diff := cmp.Diff([]string{}, files(t, dir)); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
}
