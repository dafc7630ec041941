//go:build unix

package submit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

func TestRun(t *testing.T) {
	b := newBed(t)
	var out, errs bytes.Buffer
	run := b.run(t, submit.Invocation{
		Dir:        tree(t, map[string]string{"count.sh": "cat texts/* | wc -w | tr -d ' '\necho err >&2\necho '{\"words\": 3}' >\"$FLOWSHIP_RESULT\"\n", "texts/a": "one two\n", "texts/b": "three\n"}),
		Include:    []string{"count.sh", "texts/"},
		Command:    []string{"sh", "count.sh"},
		Parameters: json.RawMessage(`{"a":1}`),
		Name:       "counting",
		Stdout:     &out,
		Stderr:     &errs,
	})
	if out.String() != "3\n" || errs.String() != "err\n" {
		t.Errorf("output %q and %q", out.String(), errs.String())
	}
	if run.ExitCode != 0 || run.State.Type != orchestrator.TypeCompleted || string(run.Result) != `{"words":3}` || run.Bundle.UploadedBytes == 0 || run.Bundle.ReusedBytes != 0 {
		t.Errorf("%+v", run)
	}
	if diff := cmp.Diff([]string{"Pending", "Running", "Completed"}, b.states(t, run.ID)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	want := []string{run.Bundle.Key, *run.Bundle.FilesKey, "results/" + run.ID + ".json"}
	got := b.stored(t)
	for _, key := range want {
		if !strings.Contains(strings.Join(got, "\n"), key) {
			t.Errorf("the store holds %v, not %s", got, key)
		}
	}
	if len(got) != len(want) {
		t.Errorf("the store holds %v", got)
	}
	b.wantJSON(t, run)
}

// wantJSON checks the members that other programs rely on.
func (b *bed) wantJSON(t *testing.T, run *submit.Run) {
	t.Helper()
	text, err := json.Marshal(run)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	for name, timing := range got["timings"].(map[string]any) {
		if s, ok := timing.(float64); !ok || s < 0 || s > 60 {
			t.Errorf("timing %s: %v", name, timing)
		}
	}
	for _, name := range []string{"collect", "hash", "upload", "create", "launch", "run"} {
		if _, ok := got["timings"].(map[string]any)[name]; !ok {
			t.Errorf("no timing %s", name)
		}
	}
	delete(got, "timings")
	want := map[string]any{
		"id": run.ID, "name": "counting", "work_pool": "local", "parameters": map[string]any{"a": 1.0}, "result": map[string]any{"words": 3.0},
		"state": map[string]any{"type": "COMPLETED", "name": "Completed", "message": "", "timestamp": run.State.Timestamp.Format(time.RFC3339Nano)},
		"bundle": map[string]any{
			"url": run.Bundle.URL, "key": run.Bundle.Key, "files_key": *run.Bundle.FilesKey, "uploaded_bytes": float64(run.Bundle.UploadedBytes), "reused_bytes": 0.0,
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

func TestEndings(t *testing.T) {
	b := newBed(t)
	for _, test := range []struct {
		name, script string
		timeout      time.Duration
		code         int
		state        string // name
		message      string
	}{
		{"no files", "exit 0", 0, 0, "Completed", ""},
		{"its own code", "exit 7", 0, 7, "Failed", "the command ended with exit code 7"},
		{"killed", "kill -KILL $$", 0, 137, "Crashed", "the command was ended by signal SIGKILL, exit code 137"},
		{"too slow", "exec sleep 600", 50 * time.Millisecond, 124, "TimedOut", "the command ran longer than 50ms"},
		{"not found", "exec no-such-command 2>/dev/null", 0, 127, "Failed", "the command ended with exit code 127"},
		{"the executor is killed", "kill -KILL $PPID; exec sleep 600", 0, 137, "Crashed",
			"the executor ended without a word about the run, exit code 137: killed (SIGKILL), often because memory ran out"},
		{"leaves a child", "sleep 600 & exit 4", 0, 4, "Failed", "the command ended with exit code 4"},
	} {
		t.Run(test.name, func(t *testing.T) {
			run := b.run(t, submit.Invocation{Command: sh(test.script), Timeout: test.timeout})
			if run.ExitCode != test.code || run.State.Name != test.state || run.State.Message != test.message {
				t.Errorf("code %d, %s, %q; want %d, %s, %q", run.ExitCode, run.State.Name, run.State.Message, test.code, test.state, test.message)
			}
			if run.Bundle.FilesKey != nil {
				t.Errorf("files key %q", *run.Bundle.FilesKey)
			}
			states := b.states(t, run.ID)
			if last := states[len(states)-1]; last != test.state {
				t.Errorf("recorded states %v", states)
			}
			b.wantRecord(t, run)
		})
	}
}

// What killed clients left behind goes a day later.
func TestLeftovers(t *testing.T) {
	b := newBed(t)
	const digest = "cdf37b0c2066c114dd1407640162e80e78e3dab7b8f274fc3de67b2aed30a5d9"
	for _, name := range []string{"tmp/123/sidecar.zip", "store/files/" + digest + ".zip.18c0ffee18c0ffee.tmp"} {
		path := filepath.Join(b.home, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		old := time.Now().Add(-48 * time.Hour)
		for _, p := range []string{path, filepath.Dir(path)} {
			if err := os.Chtimes(p, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.run(t, runNothing()) // it looks whether all is tidy
}

func TestExecutorIsMissing(t *testing.T) {
	home := t.TempDir()
	c, err := submit.OpenClient(t.Context(), &submit.ClientOptions{Home: home, Executor: []string{"/no/such/program"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Run(t.Context(), submit.Invocation{Command: []string{"true"}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if run := (&bed{home: home}).lastRun(t); run.State.Type != orchestrator.TypeCrashed || !strings.Contains(run.State.Message, "could not be started") {
		t.Errorf("state %+v", run.State)
	}
}

func TestKeep(t *testing.T) {
	b := newBed(t)
	run, err := b.client.Run(t.Context(), submit.Invocation{Command: sh("echo content >f"), Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(run.Dir, "f")); string(content) != "content\n" {
		t.Errorf("%q, %v", content, err)
	}
}

// The same files are sent once.
func TestReuse(t *testing.T) {
	b := newBed(t)
	dir := tree(t, map[string]string{"f": strings.Repeat("content\n", 100)})
	cmd := submit.Invocation{Name: "same", Dir: dir, Include: []string{"f"}, Command: sh("cat f | wc -l")}
	first, second := b.run(t, cmd), b.run(t, cmd)
	if first.Bundle.ReusedBytes != 0 || second.Bundle.ReusedBytes == 0 || *first.Bundle.FilesKey != *second.Bundle.FilesKey {
		t.Errorf("%+v\n%+v", first.Bundle, second.Bundle)
	}
	if sum := second.Bundle.ReusedBytes + second.Bundle.UploadedBytes; sum != first.Bundle.UploadedBytes {
		t.Errorf("%d bytes, %d at first", sum, first.Bundle.UploadedBytes)
	}
	// Without its note, the client reads what is stored.
	if err := os.RemoveAll(filepath.Join(b.home, "sidecars")); err != nil {
		t.Fatal(err)
	}
	if third := b.run(t, cmd); third.State.Type != orchestrator.TypeCompleted || third.Bundle.ReusedBytes != second.Bundle.ReusedBytes {
		t.Errorf("%+v", third)
	}
}

func TestCancel(t *testing.T) {
	for _, test := range []struct{ name, script string }{
		{"interrupt", `echo $$ >"$1"; exec sleep 600`},
		{"ignores INT", `trap '' INT; echo $$ >"$1"; exec sleep 600`},
		{"ignores INT and TERM", `trap '' INT TERM; echo $$ >"$1"; exec sleep 600`},
		{"ends well", `trap 'exit 0' INT; echo $$ >"$1"; while :; do sleep 0.01; done`},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBed(t)
			note := filepath.Join(t.TempDir(), "pid")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			done := make(chan struct{})
			var pid int
			go func() {
				defer close(done)
				pid = pidIn(t, note)
				cancel(errors.New("enough"))
			}()
			run, err := b.client.Run(ctx, submit.Invocation{Command: sh(test.script, note)})
			<-done
			if err != nil {
				t.Fatal(err)
			}
			if run.ExitCode != 130 || run.State.Type != orchestrator.TypeCancelled || run.State.Message != "cancelled: enough" {
				t.Errorf("code %d, %+v", run.ExitCode, run.State)
			}
			if diff := cmp.Diff([]string{"Pending", "Running", "Cancelling", "Cancelled"}, b.states(t, run.ID)); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			b.wantRecord(t, run)
			until(t, "the command is gone", func() bool { return gone(pid) })
			b.wantTidy(t)
		})
	}
}

func TestCancelledBefore(t *testing.T) {
	b := newBed(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.client.Run(ctx, submit.Invocation{Command: []string{"true"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Many runs at once, through several clients at one home.
func TestAtOnce(t *testing.T) {
	b := newBed(t)
	dir := tree(t, map[string]string{"f": "content\n"})
	other := b.open(t)
	var wg sync.WaitGroup
	for i := range 8 {
		c := b.client
		if i%2 == 1 {
			c = other
		}
		wg.Go(func() {
			run, err := c.Run(t.Context(), submit.Invocation{Dir: dir, Include: []string{"f"}, Command: sh("cat f >/dev/null; exit " + strconv.Itoa(i))})
			if err != nil {
				t.Error(err)
			} else if run.ExitCode != i {
				t.Errorf("%d: code %d, %+v", i, run.ExitCode, run.State)
			}
		})
	}
	wg.Wait()
	b.wantTidy(t)
}

// BenchmarkTrue is a whole run of a command that does nothing, without the start of flowship.
func BenchmarkTrue(b *testing.B) {
	c, err := submit.OpenClient(b.Context(), &submit.ClientOptions{Home: b.TempDir(), Executor: []string{os.Args[0]}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for b.Loop() {
		if _, err := c.Run(b.Context(), submit.Invocation{Command: []string{"true"}}); err != nil {
			b.Fatal(err)
		}
	}
}
