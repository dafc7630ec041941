//go:build unix

package execute_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// prefectCase is a flow that two executors ran.
type prefectCase struct {
	name          string
	stock, engine string // ids of the flow runs
}

// prefectCases has Prefect make the documents, in dir.
func prefectCases(t testing.TB, s *prefectServer, dir string, names ...string) (cases []prefectCase) {
	t.Helper()
	cmd := exec.Command(os.Getenv("FLOWSHIP_TEST_PYTHON"), append([]string{"testdata/prefect_flows.py", dir}, names...)...)
	cmd.Env = append(os.Environ(), "PREFECT_API_URL="+s.api)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) != 3 {
			t.Fatalf("%q", out)
		}
		cases = append(cases, prefectCase{words[2], words[0], words[1]})
	}
	return cases
}

// ran is what is left of a flow run, without what differs from run to run.
type ran struct {
	Code   int
	Error  string
	States []string
	Data   string // of the last state
	Stored string // what the result block holds
	Logs   []string
}

var (
	anyID   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	anyHex  = regexp.MustCompile(`[0-9a-f]{32}`)
	anyTime = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ][0-9:.]+(Z|\+00:00)?`)
	anyName = regexp.MustCompile(`\b[a-z]+-[a-z]+\b`)
)

// anonymous is a text without ids, names, times and frames of tracebacks.
func anonymous(text string) string {
	if first, rest, ok := strings.Cut(text, "\nTraceback "); ok {
		text = first
		for line := range strings.Lines(rest) {
			if !strings.HasPrefix(line, " ") {
				text += "\n" + line
			}
		}
	}
	text = anyTime.ReplaceAllString(anyHex.ReplaceAllString(anyID.ReplaceAllString(text, "ID"), "HEX"), "TIME")
	return anyName.ReplaceAllString(text, "NAME")
}

// meanwhile is what happens while a flow is run: in its directory, with signals to its executor.
type meanwhile func(ctx context.Context, work string, signals chan<- os.Signal, lose context.CancelCauseFunc)

// run runs the document, with one of the executors, as the environment says.
func (s *prefectServer) run(t testing.TB, dir, id string, environ string, and meanwhile) *ran {
	t.Helper()
	work := t.TempDir()
	env := []string{"PREFECT_API_URL=" + s.api, environ, execute.EnvPython + "=" + os.Getenv("FLOWSHIP_TEST_PYTHON"), "PREFECT__FLOW_RUN_ID=" + id}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "FLOWSHIP_") && !strings.HasPrefix(v, "PREFECT_") {
			env = append(env, v)
		}
	}
	var out bytes.Buffer
	signals := make(chan os.Signal, 1)
	watcher := orchestrator.NewWatcher(s.watched(), 0)
	defer watcher.Close()
	opts := &execute.Options{
		Dir: work, FlowRunID: id, Environ: env, Stdout: &out, Stderr: &out, Signals: signals,
		Runs: s, Watcher: watcher,
		Grace: time.Minute, // the flow has to tell a server that has much to do how it ended
	}
	ctx, lose := context.WithCancelCause(t.Context())
	defer lose(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if and != nil {
			and(t.Context(), work, signals, lose)
		}
	}()
	code, err := execute.RunForPrefect(ctx, "file://"+filepath.ToSlash(dir), id+".json", bundle.Digest{}, opts)
	<-done
	r := &ran{Code: code}
	if err != nil {
		r.Error = anonymous(err.Error())
	}
	states := s.states(t, id)
	for _, state := range states {
		r.States = append(r.States, strings.Join([]string{string(state.Type), state.Name, anonymous(state.Message)}, " | "))
	}
	data := states[len(states)-1].Data
	r.Data = anonymous(string(data))
	var metadata struct {
		Key string `json:"storage_key"`
	}
	if json.Unmarshal(data, &metadata) == nil && metadata.Key != "" {
		for _, place := range []string{dir, filepath.Join(os.Getenv("HOME"), ".prefect", "storage")} {
			if b, err := os.ReadFile(filepath.Join(place, filepath.Base(metadata.Key))); err == nil {
				r.Stored = anonymous(string(b))
			}
		}
	}
	for _, l := range s.logs(t, id) {
		r.Logs = append(r.Logs, anonymous(l))
	}
	t.Logf("%s: %s", environ, out.String())
	return r
}

// TestEngineAsStock: what Prefect's own executor and this package make of the same flows cannot be
// told apart by who looks at the server.
func TestEngineAsStock(t *testing.T) {
	s, dir := newPrefectServer(t), t.TempDir()
	names := []string{
		"json_result", "pickle_result", "no_persistence", "coroutine", "failed", "exits", "dies", "is_killed", "is_terminated", "interrupted",
		"unpicklable", "retried", "outer", "hook_completion", "hook_failure", "hook_crashed", "hook_raised", "environment",
		"block_result", "misfit",
	}
	for _, c := range prefectCases(t, s, dir, names...) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want := s.run(t, dir, c.stock, useStock, nil)
			got := s.run(t, dir, c.engine, useEngine, nil)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the run (-stock +engine):\n%s", diff)
			}
		})
	}
}

// Environments that choose the executor.
const (
	useStock  = execute.EnvPrefectExecutor + "=stock"
	useEngine = execute.EnvPrefectExecutor + "=engine"
)

// ready waits until the flow says that it runs. Many begin at the same time.
func ready(t *testing.T, work string) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(work, "ready")); err == nil {
			return
		}
	}
	t.Error("the flow is not ready")
}

func (s *prefectServer) cancel(t *testing.T, ctx context.Context, id string) {
	if _, err := s.SetState(ctx, id, orchestrator.NewState(orchestrator.TypeCancelling, ""), nil); err != nil {
		t.Error(err)
	}
}

// cancels cancels the run while the flow runs.
func (s *prefectServer) cancels(t *testing.T, id string) meanwhile {
	return func(ctx context.Context, work string, _ chan<- os.Signal, _ context.CancelCauseFunc) {
		ready(t, work)
		s.cancel(t, ctx, id)
	}
}

func TestEngineCancelledAsStock(t *testing.T) {
	s, dir := newPrefectServer(t), t.TempDir()
	for _, c := range prefectCases(t, s, dir, "cancelled", "hook_cancelled", "coroutine_cancelled") {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want := s.run(t, dir, c.stock, useStock, s.cancels(t, c.stock))
			got := s.run(t, dir, c.engine, useEngine, s.cancels(t, c.engine))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the run (-stock +engine):\n%s", diff)
			}
		})
	}
}

// signals sends a signal to the executor while the flow runs.
func signals(t *testing.T, s os.Signal) meanwhile {
	return func(_ context.Context, work string, signals chan<- os.Signal, _ context.CancelCauseFunc) {
		ready(t, work)
		signals <- s
	}
}

// TestEngine: what Prefect's own executor has no word for, or another one.
func TestEngine(t *testing.T) {
	s, dir := newPrefectServer(t), t.TempDir()
	const flow, pending, running = "cancelled", "PENDING | Pending | ", "RUNNING | Running | "
	const eviction = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR="
	tests := []struct {
		name, flow, environ string
		and                 meanwhile
		before              func(t *testing.T, id string)
		code                int
		states              []string
	}{
		{name: "generator", flow: "generator", states: []string{pending, running, "COMPLETED | Completed | "}},
		{name: "generator of a coroutine", flow: "async_generator", states: []string{pending, running, "COMPLETED | Completed | "}},
		{
			name: "the process ends as if all was well", flow: "vanishes",
			states: []string{pending, running, "CRASHED | Crashed | the flow ended its process before it returned, exit code 0"},
		},
		{
			// Python takes its time on a busy machine until the run is RUNNING, and that counts.
			name: "deadline", flow: flow, before: func(t *testing.T, id string) { setTimeout(t, dir, id, 30) },
			states: []string{pending, running, "FAILED | TimedOut | the flow ran longer than 30s"},
		},
		{
			name: "cancelled before", flow: flow, before: func(t *testing.T, id string) { s.cancel(t, t.Context(), id) },
			states: []string{pending, "CANCELLING | Cancelling | ", "CANCELLED | Cancelled | Flow run was cancelled before execution started."},
		},
		{
			name: "terminated", flow: flow, and: signals(t, syscall.SIGTERM),
			states: []string{pending, running, "CRASHED | Crashed | Execution was aborted by a termination signal."},
		},
		{
			name: "hung up", flow: flow, and: signals(t, syscall.SIGHUP),
			states: []string{pending, running, "CRASHED | Crashed | Execution was aborted by a termination signal."},
		},
		{
			name: "interrupted", flow: flow, and: signals(t, os.Interrupt),
			states: []string{pending, running, "CRASHED | Crashed | Execution was aborted by an interrupt signal."},
		},
		{
			name: "rescheduled", flow: flow, environ: eviction + "reschedule", and: signals(t, syscall.SIGTERM),
			states: []string{pending, running, "SCHEDULED | Rescheduled | its executor was asked to end"},
		},
		{name: "relinquished", flow: flow, environ: eviction + "relinquish", and: signals(t, syscall.SIGTERM), code: 1, states: []string{pending, running}},
		{
			name: "lease lost", flow: flow, states: []string{pending, running},
			and: func(_ context.Context, work string, _ chan<- os.Signal, lose context.CancelCauseFunc) {
				ready(t, work)
				lose(orchestrator.ErrLeaseLost)
			},
		},
	}
	flows := []string{}
	for _, test := range tests {
		flows = append(flows, test.flow)
	}
	cases := prefectCases(t, s, dir, flows...)
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			id := cases[i].engine
			if test.before != nil {
				test.before(t, id)
			}
			got := s.run(t, dir, id, test.environ, test.and)
			want := &ran{Code: test.code, States: test.states, Data: got.Data, Stored: got.Stored, Logs: got.Logs}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the run (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEngineCancelledBySignal: who cancels a run says so to the server and then signals. The signal
// may be here first.
func TestEngineCancelledBySignal(t *testing.T) {
	s, dir := newPrefectServer(t), t.TempDir()
	s.slow = true
	id := prefectCases(t, s, dir, "cancelled")[0].engine
	got := s.run(t, dir, id, useEngine, func(ctx context.Context, work string, signals chan<- os.Signal, _ context.CancelCauseFunc) {
		ready(t, work)
		s.cancel(t, ctx, id)
		signals <- os.Interrupt
	})
	want := []string{
		"PENDING | Pending | ", "RUNNING | Running | ", "CANCELLING | Cancelling | ", "CANCELLED | Cancelled | Flow run was cancelled successfully.",
	}
	if diff := cmp.Diff(want, got.States); diff != "" || got.Code != 0 {
		t.Errorf("exit code %d; states (-want +got):\n%s", got.Code, diff)
	}
}

// setTimeout adds a deadline to a document.
func setTimeout(t *testing.T, dir, id string, seconds float64) {
	t.Helper()
	path := filepath.Join(dir, id+".json")
	var document map[string]any
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &document)
	}
	if err != nil {
		t.Fatal(err)
	}
	document["flow_run"].(map[string]any)["timeout_seconds"] = seconds
	if b, err = json.Marshal(document); err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkPrefectFlow is a flow that does nothing, under each of the executors.
func BenchmarkPrefectFlow(b *testing.B) {
	s, dir := newPrefectServer(b), b.TempDir()
	for _, executor := range []string{useStock, useEngine} {
		b.Run(strings.TrimPrefix(executor, execute.EnvPrefectExecutor+"="), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				id := prefectCases(b, s, dir, "no_persistence")[0].engine
				b.StartTimer()
				if r := s.run(b, dir, id, executor, nil); r.Code != 0 || len(r.States) != 3 {
					b.Fatalf("%+v", r)
				}
			}
		})
	}
}
