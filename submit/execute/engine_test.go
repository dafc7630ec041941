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
func prefectCases(t *testing.T, s *prefectServer, dir string, names ...string) (cases []prefectCase) {
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

// run runs the document with one of the executors.
func (s *prefectServer) run(t *testing.T, dir, id, executor string, ready func(ctx context.Context, work string)) *ran {
	t.Helper()
	work := t.TempDir()
	env := []string{"PREFECT_API_URL=" + s.api, "FLOWSHIP_PREFECT_EXECUTOR=" + executor, execute.EnvPython + "=" + os.Getenv("FLOWSHIP_TEST_PYTHON"), "PREFECT__FLOW_RUN_ID=" + id}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "FLOWSHIP_") && !strings.HasPrefix(v, "PREFECT_") {
			env = append(env, v)
		}
	}
	var out bytes.Buffer
	opts := &execute.Options{Dir: work, FlowRunID: id, Environ: env, Stdout: &out, Stderr: &out, Runs: s, Watcher: orchestrator.NewWatcher(s, 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if ready != nil {
			ready(t.Context(), work)
		}
	}()
	code, err := execute.RunForPrefect(t.Context(), "file://"+filepath.ToSlash(dir), id+".json", bundle.Digest{}, opts)
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
	t.Logf("%s: %s", executor, out.String())
	return r
}

// TestEngineAsStock: what Prefect's own executor and this package make of the same flows cannot be
// told apart by who looks at the server.
func TestEngineAsStock(t *testing.T) {
	s, dir := newPrefectServer(t), t.TempDir()
	names := []string{
		"json_result", "pickle_result", "no_persistence", "coroutine", "failed", "exits", "dies", "is_killed", "is_terminated", "interrupted",
		"unpicklable", "retried", "outer", "hook_completion", "hook_failure", "hook_crashed", "hook_raised", "settings", "environment",
		"block_result", "misfit",
	}
	for _, c := range prefectCases(t, s, dir, names...) {
		t.Run(c.name, func(t *testing.T) {
			want := s.run(t, dir, c.stock, "stock", nil)
			got := s.run(t, dir, c.engine, "engine", nil)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("stock, engine (-stock +engine):\n%s", diff)
			}
			t.Logf("%+v", got)
		})
	}
}

// cancels waits until the flow says that it runs, and then cancels it.
func (s *prefectServer) cancels(t *testing.T, id string) func(ctx context.Context, work string) {
	return func(ctx context.Context, work string) {
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, err := os.Stat(filepath.Join(work, "ready")); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Error("the flow is not ready")
				break
			}
		}
		if _, err := s.SetState(ctx, id, orchestrator.NewState(orchestrator.TypeCancelling, ""), nil); err != nil {
			t.Error(err)
		}
	}
}

func TestEngineCancelledAsStock(t *testing.T) {
	s, dir := newPrefectServer(t), t.TempDir()
	for _, c := range prefectCases(t, s, dir, "cancelled", "hook_cancelled", "coroutine_cancelled") {
		t.Run(c.name, func(t *testing.T) {
			want := s.run(t, dir, c.stock, "stock", s.cancels(t, c.stock))
			got := s.run(t, dir, c.engine, "engine", s.cancels(t, c.engine))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("stock, engine (-stock +engine):\n%s", diff)
			}
			t.Logf("%+v", got)
		})
	}
}
