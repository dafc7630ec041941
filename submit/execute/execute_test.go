//go:build unix

package execute_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// stored is a bundle in a folder store.
type stored struct {
	dir, url, key string
	id            string
	digest        bundle.Digest
	filesKey      string
	work          string // an empty working directory
}

// store packs files into a bundle that calls the command, and stores it.
func store(t *testing.T, files map[string]string, inv bundle.Invocation, run execute.FlowRun) *stored {
	t.Helper()
	src := t.TempDir()
	include := []string{}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(src, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		include = append(include, name)
	}
	run.ID, run.FlowID, run.Name = uuid.NewString(), uuid.NewString(), "tidy-newt"
	if run.Parameters == nil {
		run.Parameters = json.RawMessage("{}")
	}
	member, err := run.Encode()
	if err != nil {
		t.Fatal(err)
	}
	inv.FlowRun = member
	c, err := bundle.Collect(t.Context(), src, include, nil)
	if err != nil {
		t.Fatal(err)
	}
	// A bundle directory is a store: its document has the key bundle.json.
	s := &stored{dir: t.TempDir(), key: "bundle.json", id: run.ID, work: t.TempDir()}
	built, err := bundle.Build(t.Context(), c, inv, s.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.digest, s.filesKey = built.Digest, built.Document.FilesKey
	if s.url, err = storage.FolderURL(s.dir); err != nil {
		t.Fatal(err)
	}
	return s
}

func command(argv ...string) bundle.Invocation {
	return bundle.Invocation{Runtime: bundle.RuntimeExec, Command: argv}
}

func sh(script string) bundle.Invocation { return command("sh", "-c", script) }

// runs is an orchestrator of one run.
type runs struct {
	mu     sync.Mutex
	id     string
	policy orchestrator.Policy
	count  int // how often it became RUNNING
	states []orchestrator.State
}

func newRuns(id string, current orchestrator.StateType) *runs {
	return &runs{id: id, states: []orchestrator.State{orchestrator.NewState(current, "")}}
}

func (r *runs) SetState(_ context.Context, id string, proposed orchestrator.State, opts *orchestrator.SetStateOptions) (*orchestrator.Outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id != r.id {
		return nil, fmt.Errorf("%q: %w", id, orchestrator.ErrNotFound)
	}
	current := r.states[len(r.states)-1]
	if opts != nil && opts.Follows != "" && opts.Follows != current.ID {
		return &orchestrator.Outcome{Status: orchestrator.Rejected, State: current}, nil
	}
	out := orchestrator.Decide(current, proposed, orchestrator.RunFacts{Policy: r.policy, RunCount: r.count})
	if out.State.ID != current.ID {
		r.states = append(r.states, out.State)
		if out.State.Type == orchestrator.TypeRunning {
			r.count++
		}
	}
	return out, nil
}

func (r *runs) FlowRun(_ context.Context, id string) (*orchestrator.FlowRun, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &orchestrator.FlowRun{ID: id, Policy: r.policy, RunCount: r.count, State: r.states[len(r.states)-1]}, nil
}

func (r *runs) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, s := range r.states {
		names = append(names, s.Name)
	}
	return names
}

type outcome struct {
	record      *execute.Record
	err         error
	out, errOut string
	states      []string
}

func (s *stored) run(t *testing.T, opts execute.Options) *outcome {
	t.Helper()
	var out, errOut bytes.Buffer
	r := newRuns(s.id, orchestrator.TypePending)
	if opts.Runs == nil {
		opts.Runs = r
	}
	opts.Dir, opts.Stdout, opts.Stderr = s.work, &out, &errOut
	record, err := execute.Run(t.Context(), s.url, s.key, s.digest, &opts)
	if record == nil {
		t.Fatalf("no record: %v", err)
	}
	return &outcome{record, err, out.String(), errOut.String(), r.names()}
}

func TestRun(t *testing.T) {
	for _, test := range []struct {
		name    string
		inv     bundle.Invocation
		code    int
		state   string // type/name
		message string
		out     string
		result  string
	}{
		{"success", command("sh", "count.sh"), 0, "COMPLETED/Completed", "", "2\n", ""},
		{"a program of its own", command("./count.sh"), 0, "COMPLETED/Completed", "", "2\n", ""},
		{"its own code", sh("exit 7"), 7, "FAILED/Failed", "the command ended with exit code 7", "", ""},
		{"killed", sh("kill -KILL $$"), 137, "CRASHED/Crashed", "the command was ended by signal SIGKILL, exit code 137", "", ""},
		{"parameters", sh(`echo "$FLOWSHIP_PARAMETERS"; cat "$FLOWSHIP_PARAMETERS_FILE"`), 0, "COMPLETED/Completed", "", `{"a": [1, "x"]}{"a": [1, "x"]}`, ""},
		{"no input", sh("cat; echo read"), 0, "COMPLETED/Completed", "", "read\n", ""},
		{"working directory", sh(`[ "$PWD" = "$(pwd)" ]; ls`), 0, "COMPLETED/Completed", "", "count.sh\nwords\n", ""},
		{"result", sh(`echo '{"n": 2}' >"$FLOWSHIP_RESULT"`), 0, "COMPLETED/Completed", "", "", `{"n":2}`},
		{"result of a failure", sh(`echo '"why"' >"$FLOWSHIP_RESULT"; exit 2`), 2, "FAILED/Failed", "the command ended with exit code 2", "", `"why"`},
		{"result is no JSON", sh(`echo '{"n": ' >"$FLOWSHIP_RESULT"`), 1, "FAILED/Failed", "the result that the command wrote to $FLOWSHIP_RESULT is not JSON: unexpected end of JSON input", "", ""},
		{"result is empty", sh(`: >"$FLOWSHIP_RESULT"`), 1, "FAILED/Failed", "the result that the command wrote to $FLOWSHIP_RESULT is not JSON: unexpected end of JSON input", "", ""},
		{"result is a directory", sh(`mkdir "$FLOWSHIP_RESULT"`), 1, "FAILED/Failed", "the result that the command wrote to $FLOWSHIP_RESULT is not a regular file (drwxr-xr-x)", "", ""},
		{"result is too large", sh(`truncate -s 67108865 "$FLOWSHIP_RESULT"`), 1, "FAILED/Failed", "the result that the command wrote to $FLOWSHIP_RESULT has 67108865 bytes, more than 67108864", "", ""},
		{"no such command", command("no-such-command"), 127, "FAILED/Failed", `the command "no-such-command" was not found`, "", ""},
		{"no such path", command("./no-such-command"), 127, "FAILED/Failed", `the command "./no-such-command" was not found`, "", ""},
		{"not executable", command("/dev/null"), 126, "FAILED/Failed", `the command "/dev/null" cannot be run: permission denied`, "", ""},
		{"a directory", command("/"), 126, "FAILED/Failed", `the command "/" cannot be run: is a directory`, "", ""},
		{"not a program", command("./words"), 126, "FAILED/Failed", `the command "./words" cannot be run: exec format error`, "", ""},
		{"closes its output", sh("exec >&- 2>&-; exit 3"), 3, "FAILED/Failed", "the command ended with exit code 3", "", ""},
		{"no stray variables", sh("env | grep -c 'FLOWSHIP_S'"), 1, "FAILED/Failed", "the command ended with exit code 1", "0\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("FLOWSHIP_SCRATCH", "x")
			t.Setenv("FLOWSHIP_STOP", "group")
			files := map[string]string{"count.sh": "#!/bin/sh\nwc -l <words | tr -d ' '\n", "words": "a\nb\n"}
			s := store(t, files, test.inv, execute.FlowRun{Parameters: json.RawMessage(`{"a": [1, "x"]}`)})
			o := s.run(t, execute.Options{})
			if o.err != nil {
				t.Fatal(o.err)
			}
			r := o.record
			got := []string{string(r.State.Type) + "/" + r.State.Name, r.State.Message, fmt.Sprint(r.ExitCode), strings.ReplaceAll(o.out, "1, ", "1,"), string(r.Result)}
			want := []string{test.state, test.message, fmt.Sprint(test.code), strings.ReplaceAll(test.out, "1, ", "1,"), test.result}
			if test.name == "parameters" {
				got[3], want[3] = strings.Join(strings.Fields(o.out), ""), strings.ReplaceAll(test.out, " ", "")
			}
			if test.result != "" {
				got[4] = strings.Join(strings.Fields(got[4]), "")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("state, message, code, output, result (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"Pending", "Running", r.State.Name}, o.states); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			left := s.record(t)
			if left.State.Type != r.State.Type || left.ExitCode != r.ExitCode || !left.Ended.Equal(r.Ended) {
				t.Errorf("record %+v, want %+v", left, r)
			}
		})
	}
}

func TestLongParameters(t *testing.T) {
	long, _ := json.Marshal(map[string]string{"a": strings.Repeat("x", 200<<10)})
	s := store(t, nil, sh(`echo "${FLOWSHIP_PARAMETERS-unset}"; wc -c <"$FLOWSHIP_PARAMETERS_FILE" | tr -d ' '`), execute.FlowRun{Parameters: long})
	if o := s.run(t, execute.Options{}); o.err != nil || o.out != fmt.Sprintf("unset\n%d\n", len(long)) {
		t.Errorf("%q, %v", o.out, o.err)
	}
}

func TestTimeout(t *testing.T) {
	for name, script := range map[string]string{
		"ends when told":   "exec sleep 600",
		"ends when killed": "trap '' TERM; while :; do sleep 0.01; done",
	} {
		t.Run(name, func(t *testing.T) {
			o := store(t, nil, sh(script), execute.FlowRun{Timeout: 0.05}).run(t, execute.Options{Grace: 50 * time.Millisecond})
			r := o.record
			if o.err != nil || r.State.Type != orchestrator.TypeFailed || r.State.Name != orchestrator.NameTimedOut || r.ExitCode != 124 {
				t.Errorf("%+v, %v", r, o.err)
			}
			if want := "the command ran longer than 50ms"; r.State.Message != want {
				t.Errorf("message %q, want %q", r.State.Message, want)
			}
		})
	}
}

// signalling sends the signal as soon as the command has written something.
type signalling struct {
	signals chan os.Signal
	signal  os.Signal
	once    sync.Once
}

func (s *signalling) Write(p []byte) (int, error) {
	s.once.Do(func() { s.signals <- s.signal })
	return len(p), nil
}

func TestSignalsArePassedOn(t *testing.T) {
	s := store(t, nil, sh("trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done"), execute.FlowRun{})
	out := &signalling{signals: make(chan os.Signal, 1), signal: syscall.SIGTERM}
	r, err := execute.Run(t.Context(), s.url, s.key, s.digest, &execute.Options{Dir: s.work, Stdout: out, Stderr: io.Discard, Signals: out.signals})
	if err != nil || r.ExitCode != 5 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestContextEnds(t *testing.T) {
	s := store(t, nil, sh("trap '' INT; echo ready; exec sleep 600"), execute.FlowRun{})
	ctx, cancel := context.WithCancel(t.Context())
	signals := make(chan os.Signal, 1)
	go func() {
		<-signals
		cancel()
	}()
	r, err := execute.Run(ctx, s.url, s.key, s.digest, &execute.Options{
		Dir: s.work, Stdout: &signalling{signals: signals, signal: syscall.SIGINT}, Grace: 20 * time.Millisecond,
	})
	if err != nil || r.ExitCode != 143 || r.State.Type != orchestrator.TypeCrashed {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestNotToBeRun(t *testing.T) {
	for _, state := range []orchestrator.StateType{orchestrator.TypeRunning, orchestrator.TypeCancelling, orchestrator.TypeCancelled, orchestrator.TypeCompleted} {
		t.Run(string(state), func(t *testing.T) {
			s := store(t, nil, sh("touch ran"), execute.FlowRun{})
			o := s.run(t, execute.Options{Runs: newRuns(s.id, state)})
			if bundle.KindOf(o.err) != bundle.KindRefused || o.record.State.Type != state || o.record.ExitCode != execute.ExitRefused {
				t.Errorf("%+v, %v", o.record, o.err)
			}
			wantEmpty(t, s.work)
		})
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%s holds %v (%v)", dir, entries, err)
	}
}

// Changing any byte of what is stored is noticed before anything is written or run.
func TestTampered(t *testing.T) {
	s := store(t, map[string]string{"f": "content\n"}, sh("touch ran"), execute.FlowRun{})
	for _, key := range []string{s.key, s.filesKey} {
		t.Run(filepath.Dir(key), func(t *testing.T) {
			path := filepath.Join(s.dir, filepath.FromSlash(key))
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			defer os.WriteFile(path, whole, 0o600)
			for i := range whole {
				changed := bytes.Clone(whole)
				changed[i] ^= 1
				if err := os.WriteFile(path, changed, 0o600); err != nil {
					t.Fatal(err)
				}
				o := s.run(t, execute.Options{FlowRunID: s.id})
				if bundle.KindOf(o.err) != bundle.KindTampered || o.record.ExitCode != execute.ExitRefused || o.record.State.Type != orchestrator.TypeCrashed {
					t.Fatalf("byte %d: %+v, %v", i, o.record, o.err)
				}
				if diff := cmp.Diff([]string{"Pending", "Crashed"}, o.states); diff != "" {
					t.Fatalf("states (-want +got):\n%s", diff)
				}
				wantEmpty(t, s.work)
			}
		})
	}
	if o := s.run(t, execute.Options{}); o.err != nil || o.record.ExitCode != 0 {
		t.Errorf("whole: %+v, %v", o.record, o.err)
	}
}

func TestRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		inv    bundle.Invocation
		change func(*stored, *execute.Options)
		want   string
		code   int
	}{
		{"another run", sh(""), func(_ *stored, o *execute.Options) { o.FlowRunID = "another" }, `not "another"`, 3},
		{"no document", sh(""), func(s *stored, _ *execute.Options) { s.key = "nothing" }, "not found", 4},
		{"no sidecar", sh(""), func(s *stored, _ *execute.Options) { os.Remove(filepath.Join(s.dir, s.filesKey)) }, "not found", 4},
		{"no store", sh(""), func(s *stored, _ *execute.Options) { s.url += "/nothing" }, "not found", 4},
		{"a key that leads out", sh(""), func(s *stored, _ *execute.Options) { s.key = "../bundle.json" }, "not a valid key", 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := store(t, map[string]string{"f": "content\n"}, test.inv, execute.FlowRun{})
			var opts execute.Options
			test.change(s, &opts)
			o := s.run(t, opts)
			if o.err == nil || !strings.Contains(o.err.Error(), test.want) || o.record.ExitCode != test.code {
				t.Errorf("code %d, %v; want code %d and %q", o.record.ExitCode, o.err, test.code, test.want)
			}
			if o.record.State.Type != orchestrator.TypeCrashed {
				t.Errorf("state %+v", o.record.State)
			}
			wantEmpty(t, s.work)
		})
	}
}

func TestNoDigest(t *testing.T) {
	if _, err := execute.Run(t.Context(), "file:///x", "k", bundle.Digest{}, nil); err == nil || !strings.Contains(err.Error(), "no digest") {
		t.Errorf("error %v", err)
	}
}

func TestStoppedBeforeTheCommand(t *testing.T) {
	s := store(t, map[string]string{"f": "content\n"}, sh("touch ran"), execute.FlowRun{})
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGINT
	r := newRuns(s.id, orchestrator.TypePending)
	record, err := execute.Run(t.Context(), s.url, s.key, s.digest, &execute.Options{Dir: s.work, Signals: signals, Runs: r})
	if record.ExitCode != 130 || record.State.Type != orchestrator.TypeCrashed {
		t.Errorf("%+v, %v", record, err)
	}
	if _, err := os.Stat(filepath.Join(s.work, "ran")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the command was run (%v)", err)
	}
}
