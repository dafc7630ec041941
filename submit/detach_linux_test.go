package submit_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/flowship/flowship/submit"
)

// A program that submits for a long time does not collect the dead.
func TestSubmitLeavesNoZombie(t *testing.T) {
	b := newBed(t)
	run, err := b.client.Submit(t.Context(), submit.Invocation{Command: []string{"true"}})
	if err != nil {
		t.Fatal(err)
	}
	b.ended(t, run.ID)
	until(t, "its launcher is gone", func() bool { return children(t) == 0 })
}

// children counts the processes that this one has started and that are not gone.
func children(t *testing.T) (n int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		stat, _ := os.ReadFile(path)
		// pid (name) state parent …
		if fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]); len(fields) > 1 && string(fields[1]) == strconv.Itoa(os.Getpid()) {
			n++
		}
	}
	return n
}
