//go:build unix

package submit_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

// What is looked up later is what the submitter was told, but for some of the timings.
func TestFlowRun(t *testing.T) {
	b := newBed(t)
	cmd := command(sh(`echo '{"n": 1}' >"$FLOWSHIP_RESULT"`)...)
	cmd.Name, cmd.Tags = "tidy", []string{"a"}
	cmd.Dir, cmd.Include = tree(t, map[string]string{"f": "content\n"}), []string{"f"}
	want := b.run(t, cmd)
	got, err := b.client.FlowRun(t.Context(), "tidy")
	if err != nil {
		t.Fatal(err)
	}
	same := []cmp.Option{
		cmpopts.IgnoreFields(submit.Run{}, "Timings"),
		cmpopts.IgnoreUnexported(submit.StoredBundle{}),
	}
	if diff := cmp.Diff(want, got, same...); diff != "" {
		t.Errorf("run (-submitted +looked up):\n%s", diff)
	}
	if diff := cmp.Diff([]any{"sh", cmd.Tags}, []any{got.Flow, got.Tags}); diff != "" {
		t.Errorf("flow, tags (-want +got):\n%s", diff)
	}
	if got.Created.After(got.Started) || !got.Started.Before(got.Ended) || got.Timings.Run <= 0 || got.Timings.Collect <= 0 || got.Timings.Upload <= 0 {
		t.Errorf("created %v, started %v, ended %v, timings %+v", got.Created, got.Started, got.Ended, got.Timings)
	}
}

func TestResult(t *testing.T) {
	b := newBed(t)
	for _, test := range []struct{ name, script, want, ended string }{
		{"some", `echo '[1]' >"$FLOWSHIP_RESULT"`, "[1]", ""},
		{"none", "exit 0", "null", ""},
		{"failed", `echo '[1]' >"$FLOWSHIP_RESULT"; exit 2`, "", `flow run "failed" ended Failed: the command ended with exit code 2`},
	} {
		t.Run(test.name, func(t *testing.T) {
			b.run(t, submit.Invocation{Name: test.name, Command: sh(test.script)})
			got, err := b.client.Result(t.Context(), test.name)
			if string(got) != test.want {
				t.Errorf("result %s, want %s", got, test.want)
			}
			if e, ok := errors.AsType[*submit.EndedError](err); (err != nil) != (test.ended != "") || ok && e.Error() != test.ended {
				t.Errorf("error %v, want %q", err, test.ended)
			}
		})
	}
	if _, err := b.client.Result(t.Context(), "nobody"); !errors.Is(err, orchestrator.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

// A run is deleted, or goes on with all that it needs.
func TestDeleteOrClaim(t *testing.T) {
	b := newBed(t)
	runs := b.runs(t)
	defer runs.Close()
	for range 20 {
		run, err := b.client.SubmitToWorkPool(t.Context(), command("true"))
		if err != nil {
			t.Fatal(err)
		}
		document := filepath.Join(b.home, "store", run.Bundle.Key)
		var deleting, claiming error
		var both sync.WaitGroup
		both.Go(func() { _, deleting = b.client.DeleteFlowRun(t.Context(), run.ID) })
		both.Go(func() {
			lease := orchestrator.NewLease("worker", 0)
			_, claiming = runs.SetState(t.Context(), run.ID, orchestrator.NewState(orchestrator.TypePending, ""), &orchestrator.SetStateOptions{Lease: &lease})
		})
		both.Wait()
		_, err = os.Stat(document)
		switch {
		case deleting == nil && errors.Is(claiming, orchestrator.ErrNotFound) && errors.Is(err, fs.ErrNotExist):
		case errors.Is(deleting, orchestrator.ErrUnfinished) && claiming == nil && err == nil:
		default:
			t.Errorf("deleting: %v; claiming: %v; the document: %v", deleting, claiming, err)
		}
	}
}

// A run that waits for its next attempt keeps what it needs to be run again.
func TestDeleteFlowRunAwaitingRetry(t *testing.T) {
	b := newBed(t)
	run, err := b.client.Submit(t.Context(), submit.Invocation{Retries: 1, RetryDelay: time.Hour, Command: []string{"false"}})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "it awaits its retry", func() bool {
		state, err := b.client.State(t.Context(), run.ID)
		return err == nil && state.AwaitsRetry()
	})
	if _, err := b.client.DeleteFlowRun(t.Context(), run.ID); !errors.Is(err, orchestrator.ErrUnfinished) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{run.Bundle.Key}, b.stored(t)); diff != "" {
		t.Errorf("the store (-want +got):\n%s", diff)
	}
	if _, err := b.client.Cancel(t.Context(), run.ID); err != nil {
		t.Fatal(err)
	}
	b.ended(t, run.ID)
}

// Deleting a run leaves alone what other runs have in common with it.
func TestDeleteFlowRun(t *testing.T) {
	b := newBed(t)
	cmd := command("true")
	cmd.Dir, cmd.Include = tree(t, map[string]string{"f": "content\n"}), []string{"f"}
	first, second := b.run(t, cmd), b.run(t, cmd)
	if _, err := b.client.DeleteFlowRun(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	want := []string{*second.Bundle.FilesKey, second.Bundle.Key, "results/" + second.ID + ".json"}
	if diff := cmp.Diff(want, b.stored(t), cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
		t.Errorf("the store (-want +got):\n%s", diff)
	}
	if _, err := b.client.FlowRun(t.Context(), first.ID); !errors.Is(err, orchestrator.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if err := os.RemoveAll(filepath.Join(b.home, "store")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.Result(t.Context(), second.ID); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if _, err := b.client.DeleteFlowRun(t.Context(), second.ID); err != nil {
		t.Error(err)
	}
}
