package local_test

import (
	"database/sql"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
)

func open(t *testing.T, path string) *local.Orchestrator {
	t.Helper()
	o, err := local.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

func state(typ orchestrator.StateType) orchestrator.State { return orchestrator.NewState(typ, "why") }

func create(t *testing.T, o *local.Orchestrator, flow string) *orchestrator.FlowRun {
	t.Helper()
	run, err := o.CreateFlowRun(t.Context(), orchestrator.NewFlowRun{Flow: flow, State: state(orchestrator.TypePending)})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func set(t *testing.T, o *local.Orchestrator, id string, s orchestrator.State, opts *orchestrator.SetStateOptions) *orchestrator.Outcome {
	t.Helper()
	out, err := o.SetState(t.Context(), id, s, opts)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What was written is there when the file is opened again, whatever its name.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b", "100%?#.db")
	o := open(t, path)
	run := create(t, o, "train")
	set(t, o, run.ID, state(orchestrator.TypeRunning), nil)
	if err := o.WriteLogs(t.Context(), []orchestrator.Log{{FlowRunID: run.ID, Message: "m"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.CreateWorkPool(t.Context(), orchestrator.NewWorkPool{Name: "local", Type: "process"}); err != nil {
		t.Fatal(err)
	}
	look := func(o *local.Orchestrator) []any {
		t.Helper()
		run, err := o.FlowRun(t.Context(), run.ID)
		if err != nil {
			t.Fatal(err)
		}
		pool, err := o.WorkPool(t.Context(), "local")
		if err != nil {
			t.Fatal(err)
		}
		logs, err := o.Logs(t.Context(), orchestrator.LogFilter{FlowRunID: run.ID})
		if err != nil || len(logs) != 1 {
			t.Fatalf("%d lines, error %v", len(logs), err)
		}
		return []any{run, pool, logs}
	}
	want := look(o)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, look(open(t, path))); diff != "" {
		t.Errorf("opened again (-want +got):\n%s", diff)
	}
}

// A run that is RUNNING does not become so again.
func TestRunCount(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "db"))
	id := create(t, o, "f").ID
	for range 3 {
		set(t, o, id, state(orchestrator.TypeRunning), nil)
	}
	if run, err := o.FlowRun(t.Context(), id); err != nil || run.RunCount != 1 {
		t.Errorf("%+v, %v", run, err)
	}
}

func TestPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits")
	}
	dir := filepath.Join(t.TempDir(), "home")
	create(t, open(t, filepath.Join(dir, "db")), "f")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != fs.FileMode(0o600) {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 1000"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := local.Open(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "newer flowship") {
		t.Errorf("error %v", err)
	}
}

func TestNotADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := local.Open(t.Context(), path, nil); err == nil || !strings.Contains(err.Error(), "not a database") {
		t.Errorf("error %v", err)
	}
}

// Of all who try to end a run, one succeeds.
func TestOneFinalState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	id := create(t, open(t, path), "f").ID
	var accepted atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			o := open(t, path)
			out, err := o.SetState(t.Context(), id, state(orchestrator.TypeCompleted), nil)
			if err != nil {
				t.Error(err)
			} else if out.Status == orchestrator.Accepted {
				accepted.Add(1)
			}
		})
	}
	wg.Wait()
	if accepted.Load() != 1 {
		t.Errorf("%d were accepted", accepted.Load())
	}
}
