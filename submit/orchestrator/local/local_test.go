package local_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

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

func TestLifeOfARun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b", "100%?#.db")
	o := open(t, path)
	want := orchestrator.NewFlowRun{
		ID: uuid.NewString(), Flow: "train", Name: "tidy-newt", WorkPool: "local", Parameters: json.RawMessage(`{"a": 1}`), Tags: []string{"x", "y"},
		Bundle:  orchestrator.Bundle{URL: "file:///s", Key: "k", Digest: "sha256:00", FilesKey: "files/00.zip"},
		Version: "1.2", Labels: map[string]string{"team": "a"}, Results: "file:///r", Submission: json.RawMessage(`{"b":2}`),
		JobVariables: json.RawMessage(`{"env": {}}`), Priority: -3, Policy: orchestrator.Policy{Retries: 2, RetryDelay: 1500 * time.Millisecond},
		State: state(orchestrator.TypePending),
	}
	if _, err := o.CreateFlowRun(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if err := o.SetInfrastructure(t.Context(), want.ID, "4711"); err != nil {
		t.Fatal(err)
	}
	running, completed := state(orchestrator.TypeRunning), state(orchestrator.TypeCompleted)
	for _, s := range []orchestrator.State{running, completed} {
		if out := set(t, o, want.ID, s, nil); out.Status != orchestrator.Accepted {
			t.Errorf("%s: %+v", s.Type, out)
		}
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}

	o = open(t, path)
	got, err := o.FlowRun(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	flow, err := o.EnsureFlow(t.Context(), "train")
	if err != nil {
		t.Fatal(err)
	}
	full := &orchestrator.FlowRun{
		ID: want.ID, FlowID: flow, Flow: "train", Name: "tidy-newt", WorkPool: "local", Parameters: want.Parameters, Tags: want.Tags, Bundle: want.Bundle,
		Version: want.Version, Labels: want.Labels, Results: want.Results, Submission: want.Submission, JobVariables: want.JobVariables,
		Infrastructure: "4711", Priority: want.Priority, Policy: want.Policy, RunCount: 1, State: completed, Created: got.Created, Started: running.Timestamp, Ended: completed.Timestamp,
	}
	micro := cmpopts.EquateApproxTime(1000)
	if diff := cmp.Diff(full, got, micro); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	states, err := o.States(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]orchestrator.State{want.State, running, completed}, states, micro); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestDefaults(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "db"))
	run := create(t, o, "f")
	got, err := o.FlowRun(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(run, got, cmpopts.EquateApproxTime(1000)); diff != "" {
		t.Errorf("created and read differ:\n%s", diff)
	}
	if run.Name == "" || string(run.Parameters) != "{}" || len(run.Tags) != 0 || !run.Started.IsZero() || !run.Ended.IsZero() {
		t.Errorf("%+v", run)
	}
}

func TestSetState(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "db"))
	id := create(t, o, "f").ID
	running := state(orchestrator.TypeRunning)
	set(t, o, id, running, nil)
	if out := set(t, o, id, running, nil); out.Status != orchestrator.Accepted {
		t.Errorf("the same state again: %+v", out)
	}
	completed := state(orchestrator.TypeCompleted)
	set(t, o, id, completed, nil)
	if out := set(t, o, id, running, nil); out.Status != orchestrator.Rejected || out.State.ID != completed.ID {
		t.Errorf("an earlier state again: %+v", out)
	}
	if out := set(t, o, id, state(orchestrator.TypeCrashed), nil); out.Status != orchestrator.Aborted || out.State.ID != completed.ID {
		t.Errorf("after the end: %+v", out)
	}
	if states, err := o.States(t.Context(), id); err != nil || len(states) != 3 {
		t.Errorf("%d states, error %v; want 3", len(states), err)
	}
	forced := state(orchestrator.TypeRunning)
	if out := set(t, o, id, forced, &orchestrator.SetStateOptions{Force: true}); out.State.ID != forced.ID {
		t.Errorf("forced: %+v", out)
	}
	if run, err := o.FlowRun(t.Context(), id); err != nil || !run.Ended.IsZero() {
		t.Errorf("a run that goes on has ended at %v (%v)", run.Ended, err)
	}
}

func TestNotFound(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "db"))
	failures := map[string]error{}
	_, failures["get"] = o.FlowRun(t.Context(), "nobody")
	_, failures["states"] = o.States(t.Context(), "nobody")
	_, failures["set"] = o.SetState(t.Context(), "nobody", state(orchestrator.TypeRunning), nil)
	for verb, err := range failures {
		if !errors.Is(err, orchestrator.ErrNotFound) || !strings.Contains(err.Error(), `"nobody"`) {
			t.Errorf("%s: %v", verb, err)
		}
	}
}

func TestList(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "db"))
	var want []string
	for i := range 4 {
		run := create(t, o, "f")
		if i%2 == 0 {
			set(t, o, run.ID, state(orchestrator.TypeRunning), nil)
		}
		want = append([]string{run.ID}, want...)
	}
	list := func(f orchestrator.Filter) []string {
		runs, err := o.FlowRuns(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		ids := []string{}
		for _, r := range runs {
			ids = append(ids, r.ID)
		}
		return ids
	}
	for _, test := range []struct {
		name   string
		filter orchestrator.Filter
		want   []string
	}{
		{"all", orchestrator.Filter{}, want},
		{"two", orchestrator.Filter{Limit: 2}, want[:2]},
		{"running", orchestrator.Filter{States: []orchestrator.StateType{"RUNNING", "FAILED"}}, []string{want[1], want[3]}},
		{"none", orchestrator.Filter{States: []orchestrator.StateType{"FAILED"}}, []string{}},
	} {
		if diff := cmp.Diff(test.want, list(test.filter)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
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

const childVariable = "FLOWSHIP_TEST_DB"

func TestMain(m *testing.M) {
	path := os.Getenv(childVariable)
	if path == "" {
		os.Exit(m.Run())
	}
	if err := child(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const runsPerChild = 20

// child is another process at the same file.
func child(path string) error {
	ctx := context.Background()
	o, err := local.Open(ctx, path, nil)
	if err != nil {
		return err
	}
	defer o.Close()
	for range runsPerChild {
		submitter, executor := orchestrator.NewLease("submitter", 0), orchestrator.NewLease("executor", 0)
		run, err := o.CreateFlowRun(ctx, orchestrator.NewFlowRun{Flow: "f", State: state(orchestrator.TypePending), Lease: &submitter})
		if err != nil {
			return err
		}
		if err := o.Hold(ctx, run.ID, executor); err != nil {
			return err
		}
		if err := o.Release(ctx, submitter); err != nil {
			return err
		}
		if n, err := o.EndLost(ctx); err != nil || n != 0 {
			return fmt.Errorf("%d runs were ended whose holders live, error %v", n, err)
		}
		if err := o.Renew(ctx, executor); err != nil {
			return err
		}
		for _, typ := range []orchestrator.StateType{orchestrator.TypeRunning, orchestrator.TypeCompleted} {
			if _, err := o.SetState(ctx, run.ID, state(typ), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// Several processes create the file and write to it at once, and look for runs that are lost.
func TestProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	var wg sync.WaitGroup
	for range 4 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+path)
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	runs, err := open(t, path).FlowRuns(t.Context(), orchestrator.Filter{States: []orchestrator.StateType{orchestrator.TypeCompleted}})
	if err != nil || len(runs) != 4*runsPerChild {
		t.Errorf("%d runs, error %v; want %d", len(runs), err, 4*runsPerChild)
	}
}
