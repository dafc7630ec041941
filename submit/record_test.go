//go:build unix

package submit_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/storage/gocloud"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// wantRecord: the record in the store says what the orchestrator says of the run.
func (b *bed) wantRecord(t *testing.T, run *submit.Run) {
	t.Helper()
	r, err := execute.ReadRecord(t.Context(), run.Bundle.URL, run.ID, &storage.OpenOptions{Openers: gocloud.Openers(nil)})
	if err != nil {
		t.Fatal(err)
	}
	if r.State.Type != run.State.Type || r.State.Name != run.State.Name || r.State.Message != run.State.Message || r.ExitCode != run.ExitCode {
		t.Errorf("the record says %+v, code %d; the run ended %+v, code %d", r.State, r.ExitCode, run.State, run.ExitCode)
	}
	if r.Started.IsZero() || r.Ended.Before(r.Started) {
		t.Errorf("started %v, ended %v", r.Started, r.Ended)
	}
}

// An executor that dies between its record and its last state has told enough.
func TestRecordIsBelieved(t *testing.T) {
	b := newBed(t)
	const record = `{"id":"%s","state":{"type":"COMPLETED","name":"Completed","message":"","timestamp":"2026-01-02T03:04:05Z"},` +
		`"exit_code":0,"result":[1],"started":"2026-01-02T03:04:05Z","ended":"2026-01-02T03:04:05Z"}`
	script := `mkdir -p "$1" && printf "$2" "$FLOWSHIP_FLOW_RUN_ID" >"$1/$FLOWSHIP_FLOW_RUN_ID.json" && kill -KILL $PPID && exec sleep 600`
	run := b.run(t, command(sh(script, filepath.Join(b.home, "store", "results"), record)...))
	if run.State.Type != orchestrator.TypeCompleted || run.ExitCode != 0 || string(run.Result) != "[1]" {
		t.Errorf("code %d, %+v, result %s", run.ExitCode, run.State, run.Result)
	}
	if diff := cmp.Diff([]string{"Pending", "Running", "Completed"}, b.states(t, run.ID)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	b.wantRecord(t, run)
}

// A run does not end COMPLETED when its record, which holds the result, could not be stored.
func TestRecordIsLost(t *testing.T) {
	b := newBed(t)
	store := filepath.Join(b.home, "store")
	if err := os.MkdirAll(store, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(store, "results"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run := b.run(t, command(sh(`echo 1 >"$FLOWSHIP_RESULT"`)...))
	if run.State.Type != orchestrator.TypeCrashed || !strings.HasPrefix(run.State.Message, execute.ErrNotRecorded.Error()+": ") || run.ExitCode != execute.ExitUnavailable {
		t.Errorf("code %d, %+v", run.ExitCode, run.State)
	}
	if len(run.Warnings) == 0 {
		t.Error("no warning")
	}
}
