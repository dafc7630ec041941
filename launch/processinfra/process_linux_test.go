package processinfra_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
)

// A process that is stopped, as by SIGSTOP, gets the signal as well.
func TestStopStopped(t *testing.T) {
	note := filepath.Join(t.TempDir(), "pid")
	r := start(t, t.TempDir(), launch.Job{Command: sh(`echo $$ >"$1"; kill -STOP $$; exec sleep 600`, note)})
	stat := fmt.Sprintf("/proc/%d/stat", pidIn(t, note))
	until(t, "the process is stopped", func() bool {
		b, err := os.ReadFile(stat)
		return err == nil && strings.Contains(string(b), ") T ")
	})
	if err := r.Stop(t.Context(), 10*time.Second); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(&launch.Exit{Code: 130, Signal: 2}, wait(t, r)); diff != "" {
		t.Errorf("exit (-want +got):\n%s", diff)
	}
}
