//go:build unix

package local_test

import (
	"encoding/json"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flowship/flowship/submit/orchestrator"
)

// limitFiles limits the size of files, which fails writes as a full disk does, while do runs.
func limitFiles(t *testing.T, size uint64, do func()) {
	t.Helper()
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = size
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
	}()
	do()
}

// What was confirmed is there after the disk was full, and nothing of what was not. With space,
// everything works again.
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	o := open(t, path)
	id := create(t, o, "f").ID
	const room = 1 << 18
	info, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	confirmed := 1
	limitFiles(t, uint64(info.Size())+room, func() {
		parameters := json.RawMessage(`"` + strings.Repeat("x", room/8) + `"`)
		for err == nil && confirmed < 100 {
			_, err = o.CreateFlowRun(t.Context(), orchestrator.NewFlowRun{Flow: "f", Parameters: parameters, State: state(orchestrator.TypePending)})
			if err == nil {
				confirmed++
			}
		}
		if err == nil || !strings.Contains(err.Error(), "disk") {
			t.Errorf("after %d runs: error %v", confirmed, err)
		}
		if logErr := o.WriteLogs(t.Context(), []orchestrator.Log{{FlowRunID: id, Message: strings.Repeat("m", room)}}); logErr == nil {
			t.Error("logs were written to a full disk")
		}
		if run, err := o.FlowRun(t.Context(), id); err != nil || run.State.Type != orchestrator.TypePending {
			t.Errorf("%+v, %v", run, err)
		}
	})
	check := func() {
		t.Helper()
		runs, err := o.FlowRuns(t.Context(), orchestrator.Filter{})
		if err != nil || len(runs) != confirmed {
			t.Errorf("%d runs, error %v; %d were confirmed", len(runs), err, confirmed)
		}
		var verdict string
		if err := o.DB().QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
			t.Errorf("integrity %q, %v", verdict, err)
		}
	}
	check()
	set(t, o, id, state(orchestrator.TypeCompleted), nil)
	if logs, err := o.Logs(t.Context(), orchestrator.LogFilter{FlowRunID: id}); err != nil || len(logs) != 0 {
		t.Errorf("%d lines, %v", len(logs), err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, path)
	check()
}
