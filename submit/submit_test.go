//go:build unix

package submit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
)

const (
	// executorVariable has the test program be the executor, as the client starts it.
	executorVariable = "FLOWSHIP_TEST_EXECUTOR"
	// submitterVariable has it submit the command that it holds.
	submitterVariable = "FLOWSHIP_TEST_SUBMITTER"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(executorVariable) != "" && len(os.Args) > 1 && os.Args[1] == "execute":
		os.Exit(executor(os.Args[2:]))
	case os.Getenv(submitterVariable) != "":
		os.Exit(submitter(os.Getenv(submitterVariable)))
	}
	os.Setenv(executorVariable, "1")
	os.Exit(m.Run())
}

func executor(args []string) int {
	var step submit.Step
	flags := flag.NewFlagSet("execute", flag.ExitOnError)
	flags.StringVar(&step.URL, "url", "", "")
	flags.StringVar(&step.Key, "key", "", "")
	digest := flags.String("digest", "", "")
	flags.Parse(args)
	var err error
	if step.Digest, err = bundle.ParseDigest(*digest); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	record, err := submit.Execute(context.Background(), step)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return record.ExitCode
}

// submitter runs a script in the home FLOWSHIP_HOME.
func submitter(script string) int {
	ctx := context.Background()
	c, err := submit.OpenClient(ctx, &submit.ClientOptions{Home: os.Getenv("FLOWSHIP_HOME"), Executor: []string{os.Args[0]}})
	if err != nil {
		panic(err)
	}
	dir, include := os.Getenv("BASE"), []string{}
	if dir != "" {
		include = []string{"*"}
	}
	run, err := c.RunCommand(ctx, submit.CommandRun{Dir: dir, Include: include, Command: []string{"sh", "-c", script}, Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 5
	}
	return run.ExitCode
}

type bed struct {
	home   string
	client *submit.Client
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{home: filepath.Join(t.TempDir(), "ho me")}
	b.client = b.open(t)
	return b
}

func (b *bed) open(t *testing.T) *submit.Client {
	t.Helper()
	c, err := submit.OpenClient(t.Context(), &submit.ClientOptions{Home: b.home, Executor: []string{os.Args[0]}, Grace: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (b *bed) run(t *testing.T, cmd submit.CommandRun) *submit.Run {
	t.Helper()
	run, err := b.client.RunCommand(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	b.wantTidy(t)
	return run
}

// wantTidy: no working directory, no temporary file is left.
func (b *bed) wantTidy(t *testing.T) {
	t.Helper()
	for _, name := range []string{"run", "tmp"} {
		if entries, err := os.ReadDir(filepath.Join(b.home, name)); err != nil || len(entries) > 0 {
			t.Errorf("%s holds %v (%v)", name, entries, err)
		}
	}
	for _, name := range b.stored(t) {
		if strings.HasSuffix(name, ".tmp") {
			t.Errorf("the store holds %s", name)
		}
	}
}

func (b *bed) stored(t *testing.T) []string {
	t.Helper()
	top := filepath.Join(b.home, "store")
	names := []string{}
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(top, path)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

func (b *bed) states(t *testing.T, id string) []string {
	t.Helper()
	runs, err := local.Open(t.Context(), filepath.Join(b.home, "flowship.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer runs.Close()
	states, err := runs.States(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, s := range states {
		names = append(names, s.Name)
	}
	return names
}

// lastRun waits for the home's latest run to end.
func (b *bed) lastRun(t *testing.T) *orchestrator.FlowRun {
	t.Helper()
	runs, err := local.Open(t.Context(), filepath.Join(b.home, "flowship.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer runs.Close()
	var last *orchestrator.FlowRun
	until(t, "the run has ended", func() bool {
		list, err := runs.FlowRuns(t.Context(), orchestrator.Filter{Limit: 1})
		if err != nil || len(list) == 0 {
			t.Fatalf("runs %v, %v", list, err)
		}
		last = list[0]
		return last.State.Type.Final()
	})
	return last
}

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sh(script string, args ...string) []string {
	return append([]string{"sh", "-c", script, "sh"}, args...)
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// gone reports whether the process has ended; a zombie has.
func gone(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(stat), ") Z ") {
		return true
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

func pidIn(t *testing.T, path string) int {
	t.Helper()
	pid := 0
	until(t, path+" is written", func() bool {
		b, _ := os.ReadFile(path)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		return pid > 0 && bytes.HasSuffix(b, []byte("\n"))
	})
	return pid
}

func TestRunCommand(t *testing.T) {
	b := newBed(t)
	var out, errs bytes.Buffer
	run := b.run(t, submit.CommandRun{
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
			run := b.run(t, submit.CommandRun{Command: sh(test.script), Timeout: test.timeout})
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
		})
	}
}

func TestExecutorIsMissing(t *testing.T) {
	home := t.TempDir()
	c, err := submit.OpenClient(t.Context(), &submit.ClientOptions{Home: home, Executor: []string{"/no/such/program"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.RunCommand(t.Context(), submit.CommandRun{Command: []string{"true"}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	if run := (&bed{home: home}).lastRun(t); run.State.Type != orchestrator.TypeCrashed || !strings.Contains(run.State.Message, "could not be started") {
		t.Errorf("state %+v", run.State)
	}
}

func TestKeep(t *testing.T) {
	b := newBed(t)
	run, err := b.client.RunCommand(t.Context(), submit.CommandRun{Command: sh("echo content >f"), Keep: true})
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
	cmd := submit.CommandRun{Name: "same", Dir: dir, Include: []string{"f"}, Command: sh("cat f | wc -l")}
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

// Whatever byte of a stored sidecar changes, the next run with it is refused before it starts.
func TestTamperedSidecar(t *testing.T) {
	b := newBed(t)
	cmd := submit.CommandRun{Dir: tree(t, map[string]string{"f": "content\n"}), Include: []string{"f"}, Command: sh(`touch "$1"`, filepath.Join(t.TempDir(), "ran"))}
	run := b.run(t, cmd)
	path := filepath.Join(b.home, "store", *run.Bundle.FilesKey)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	marker := cmd.Command[len(cmd.Command)-1]
	if err := os.Remove(marker); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, len(whole) / 3, len(whole) - 70, len(whole) - 1} {
		changed := bytes.Clone(whole)
		changed[i] ^= 1
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		run := b.run(t, cmd)
		if run.State.Type != orchestrator.TypeCrashed || run.ExitCode != 3 || !strings.Contains(run.State.Message, "the stored sidecar is not the one") {
			t.Errorf("byte %d: code %d, %+v", i, run.ExitCode, run.State)
		}
		if _, err := os.Stat(marker); err == nil {
			t.Errorf("byte %d: the command was run", i)
		}
	}
	if err := os.WriteFile(path, whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.RunCommand(t.Context(), cmd); bundle.KindOf(err) != bundle.KindTampered {
		t.Errorf("truncated: %v", err)
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
			run, err := b.client.RunCommand(ctx, submit.CommandRun{Command: sh(test.script, note)})
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
			until(t, "the command is gone", func() bool { return gone(pid) })
			b.wantTidy(t)
		})
	}
}

func TestCancelledBefore(t *testing.T) {
	b := newBed(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.client.RunCommand(ctx, submit.CommandRun{Command: []string{"true"}}); !errors.Is(err, context.Canceled) {
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
			run, err := c.RunCommand(t.Context(), submit.CommandRun{Dir: dir, Include: []string{"f"}, Command: sh("cat f >/dev/null; exit " + strconv.Itoa(i))})
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
