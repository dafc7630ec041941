//go:build unix

package execute_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// forPrefect is a place with an interpreter that only tells what it was asked for.
type forPrefect struct {
	*stored
	bin, scratch string
	environ      string // one more variable
}

// program writes a shell script into the only directory of PATH besides the system's.
func (p *forPrefect) program(t *testing.T, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.bin, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func newForPrefect(t *testing.T, s *stored) *forPrefect {
	p := &forPrefect{stored: s, bin: t.TempDir(), scratch: t.TempDir()}
	p.program(t, "python", `echo "$(basename "$0") $1 $2 $3 $4"; eval "$SCRIPT"`)
	return p
}

type handedOver struct {
	code     int
	err      error
	out, log string
}

func (p *forPrefect) run(t *testing.T, digest bundle.Digest, script string, opts execute.Options) *handedOver {
	t.Helper()
	var out, log bytes.Buffer
	opts.Dir, opts.Scratch, opts.Stderr = p.work, p.scratch, &log
	if opts.Stdout == nil {
		opts.Stdout = &out
	}
	opts.Environ = []string{"PATH=" + p.bin + ":/usr/bin:/bin", "FLOWSHIP_PYTHON=python", "FLOWSHIP_LEASE=1s", "SCRIPT=" + script, p.environ}
	code, err := execute.RunForPrefect(t.Context(), p.url, p.key, digest, &opts)
	left, readErr := os.ReadDir(p.scratch)
	if readErr != nil || len(left) > 0 {
		t.Errorf("left in the scratch directory: %v, %v", left, readErr)
	}
	return &handedOver{code, err, strings.ReplaceAll(out.String(), p.scratch, "SCRATCH"), log.String()}
}

// asPrefect makes the stored bundle one of Prefect's own: without flowship's member, with bytes
// of the sidecar that nobody knows, and with those dependencies.
func (s *stored) asPrefect(t *testing.T, dependencies string) {
	t.Helper()
	b, err := bundle.Open(filepath.Join(s.dir, s.key))
	if err != nil {
		t.Fatal(err)
	}
	b.Document.Flowship, b.Document.Dependencies = nil, dependencies
	f, err := os.Create(b.DocumentPath)
	if err != nil {
		t.Fatal(err)
	}
	if s.digest, err = b.Document.Write(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if b.ArchivePath == "" {
		return
	}
	repack(t, b.ArchivePath, func(name string) string { return name })
}

// repack writes the archive anew, with other bytes, and with other names if wanted.
func repack(t *testing.T, path string, rename func(string) string) {
	t.Helper()
	r, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range r.File {
		h := e.FileHeader
		h.Name, h.Method, h.Modified = rename(e.Name), zip.Store, time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
		to, err := w.CreateHeader(&zip.FileHeader{Name: h.Name, Method: zip.Store, Modified: h.Modified, ExternalAttrs: e.ExternalAttrs, CreatorVersion: e.CreatorVersion})
		if err != nil {
			t.Fatal(err)
		}
		from, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		var content bytes.Buffer
		if _, err := content.ReadFrom(from); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Write(content.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRunForPrefect: the interpreter gets a document of which nothing is left to be done, outside
// of the working directory, in which the files lie with their modes.
func TestRunForPrefect(t *testing.T) {
	const look = `cat "$4"; ls -l run.sh | cut -c1-10; ls; env | grep -c ^FLOWSHIP_L; exit 7`
	for _, own := range []bool{true, false} {
		p := newForPrefect(t, store(t, map[string]string{"run.sh": "echo hi\n", "data": "1\n"}, python("flow.py:main"), execute.FlowRun{}))
		if own {
			p.asPrefect(t, "")
		}
		got := p.run(t, bundle.Digest{}, look, execute.Options{})
		if got.code != 7 || got.err != nil {
			t.Fatalf("code %d, %v\n%s%s", got.code, got.err, got.out, got.log)
		}
		first, rest, _ := strings.Cut(got.out, "\n")
		if words := strings.Fields(first); len(words) != 5 || strings.Join(words[:4], " ") != "python -m prefect.bundles.execute --key" || !strings.HasPrefix(words[4], "SCRATCH/") {
			t.Errorf("called %q", first)
		}
		var document struct {
			FlowRun      struct{ ID string } `json:"flow_run"`
			FilesKey     *string             `json:"files_key"`
			Dependencies string
		}
		dec := json.NewDecoder(strings.NewReader(rest))
		if err := dec.Decode(&document); err != nil || document.FlowRun.ID != p.id || document.FilesKey != nil || document.Dependencies != "" {
			t.Errorf("document %+v, %v: %s", document, err, rest)
		}
		rest = rest[dec.InputOffset():]
		if diff := cmp.Diff("-rwxr-xr-x\ndata\nrun.sh\n0\n", rest); diff != "" {
			t.Errorf("working directory (-want +got):\n%s", diff)
		}
	}
}

func TestRunForPrefectRefuses(t *testing.T) {
	files := map[string]string{"data": "1\n"}
	for _, test := range []struct {
		name   string
		change func(t *testing.T, p *forPrefect)
		digest string
		phase  execute.Phase
		code   int
		kind   bundle.Kind
	}{
		{"another document", nil, strings.Repeat("1", 64), execute.PhaseDocument, execute.ExitRefused, bundle.KindTampered},
		{"no document", func(_ *testing.T, p *forPrefect) { p.key = "other" }, "", execute.PhaseDocument, execute.ExitNotFound, ""},
		{"not a document", func(t *testing.T, p *forPrefect) {
			if err := os.WriteFile(filepath.Join(p.dir, p.key), []byte(`{"function": 1}`), 0o600); err != nil {
				t.Error(err)
			}
		}, "", execute.PhaseDocument, execute.ExitRefused, bundle.KindTampered},
		{"no sidecar", func(t *testing.T, p *forPrefect) {
			if err := os.Remove(filepath.Join(p.dir, p.filesKey)); err != nil {
				t.Error(err)
			}
		}, "", execute.PhaseSidecar, execute.ExitNotFound, ""},
		{"other files", func(t *testing.T, p *forPrefect) {
			repack(t, filepath.Join(p.dir, p.filesKey), func(string) string { return "other" })
		}, "", execute.PhaseExtract, execute.ExitRefused, bundle.KindTampered},
		{"files that lead out", func(t *testing.T, p *forPrefect) {
			repack(t, filepath.Join(p.dir, p.filesKey), func(string) string { return "../data" })
		}, "", execute.PhaseExtract, execute.ExitRefused, bundle.KindRefused},
		{"no interpreter", func(t *testing.T, p *forPrefect) {
			if err := os.Remove(filepath.Join(p.bin, "python")); err != nil {
				t.Error(err)
			}
		}, "", execute.PhaseRun, execute.ExitNotFound, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newForPrefect(t, store(t, files, python("flow.py:main"), execute.FlowRun{}))
			p.asPrefect(t, "")
			if test.change != nil {
				test.change(t, p)
			}
			var digest bundle.Digest
			if test.digest != "" {
				var err error
				if digest, err = bundle.ParseDigest(test.digest); err != nil {
					t.Fatal(err)
				}
			}
			got := p.run(t, digest, "", execute.Options{})
			phase := execute.Phase("")
			if e, ok := errors.AsType[*execute.PhaseError](got.err); ok {
				phase = e.Phase
			}
			if phase != test.phase || got.code != test.code || bundle.KindOf(got.err) != test.kind || got.out != "" {
				t.Errorf("code %d, phase %q, kind %q, %v; output %q", got.code, phase, bundle.KindOf(got.err), got.err, got.out)
			}
			if left, err := os.ReadDir(p.work); err != nil || len(left) > 0 {
				t.Errorf("in the working directory: %v, %v", left, err)
			}
		})
	}
}

func TestDependencies(t *testing.T) {
	const good = "requests==2.32\n\n  pandas[a, b] >= 2 ; python_version > \"3.9\"\nx @ https://h/x.whl\nname"
	want := "requests==2.32\npandas[a, b] >= 2 ; python_version > \"3.9\"\nx @ https://h/x.whl\nname\n"
	for _, test := range []struct {
		name, dependencies string
		uv, fails          bool
		log, err           string
	}{
		{"uv", good, true, false, "uv pip install --python python\n" + want, ""},
		{"pip", good, false, false, "python -m pip install --disable-pip-version-check\n" + want, ""},
		{"none", "\n \n", true, false, "", ""},
		{"a flag", "requests\n--index-url=http://h", true, false, "", `dependency "--index-url=http://h": command-line flags are not allowed`},
		{"a path", "./evil", true, false, "", `dependency "./evil": Invalid PEP 508 dependency specifier`},
		{"an address", "https://h/evil.whl", true, false, "", `dependency "https://h/evil.whl": Invalid PEP 508 dependency specifier`},
		{"fails", "requests", true, true, "uv pip install --python python\nrequests\n", "the dependencies could not be installed: BIN/uv pip install --python BIN/python: exit status 3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newForPrefect(t, store(t, nil, python("flow.py:main"), execute.FlowRun{}))
			p.asPrefect(t, test.dependencies)
			end := "exit 0"
			if test.fails {
				end = "exit 3"
			}
			p.program(t, "python", `if [ "$2" = pip ]; then echo python $1 $2 $3 $4 >&2; shift 4; printf '%s\n' "$@" >&2; fi; `+end)
			if test.uv {
				p.program(t, "uv", `echo uv $1 $2 $3 $(basename $4) >&2; shift 4; printf '%s\n' "$@" >&2; `+end)
			}
			got := p.run(t, p.digest, "", execute.Options{})
			text := ""
			if got.err != nil {
				text = strings.ReplaceAll(got.err.Error(), p.bin, "BIN")
			}
			if diff := cmp.Diff([]string{test.log, test.err}, []string{got.log, text}); diff != "" {
				t.Errorf("installer, error (-want +got):\n%s", diff)
			}
		})
	}
}

// A signal reaches the interpreter, which says how it all ends.
func TestRunForPrefectSignal(t *testing.T) {
	p := newForPrefect(t, store(t, nil, python("flow.py:main"), execute.FlowRun{}))
	p.program(t, "python", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done")
	out := &signalling{signals: make(chan os.Signal, 1), signal: syscall.SIGTERM}
	got := p.run(t, p.digest, "", execute.Options{Stdout: out, Signals: out.signals})
	if got.code != 5 || got.err != nil {
		t.Errorf("code %d, %v", got.code, got.err)
	}
	p.program(t, "python", "exec sleep 600")
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	got = p.run(t, p.digest, "", execute.Options{Signals: signals})
	if got.code != 143 {
		t.Errorf("before it was started: code %d, %v", got.code, got.err)
	}
}

// What is not Prefect's to run, runs as it does without Prefect.
func TestRunForPrefectNatively(t *testing.T) {
	p := newForPrefect(t, store(t, map[string]string{"words": "a\n"}, sh("cat words; exit 4"), execute.FlowRun{}))
	got := p.run(t, bundle.Digest{}, "", execute.Options{})
	if got.code != 4 || got.err != nil || got.out != "a\n" {
		t.Errorf("code %d, output %q, %v", got.code, got.out, got.err)
	}
	if _, err := execute.ReadRecord(t.Context(), p.url, p.id, nil); err != nil {
		t.Error(err)
	}
}

// Where the engine cannot be run directly, Prefect's own executor is asked: nothing was run yet.
func TestRunForPrefectFallsBack(t *testing.T) {
	const unsuited = `case "$1" in *.py) exit 75;; esac; exit 6`
	for _, test := range []struct {
		name, environ, script string
		without               bool // nobody to ask about the run
		code                  int
		said, err             string
	}{
		{name: "another Prefect", script: unsuited, code: 6, said: "python SCRATCH/prefect_engine.py run bundle SCRATCH/bundle.json SCRATCH/notes-1.jsonl\npython -m prefect.bundles.execute --key SCRATCH/bundle.json\n"},
		{name: "chosen", environ: "FLOWSHIP_PREFECT_EXECUTOR=stock", script: unsuited, code: 6, said: "python -m prefect.bundles.execute --key SCRATCH/bundle.json\n"},
		{name: "a setting", environ: "PREFECT_RUNNER_CRASH_ON_CANCELLATION_FAILURE=true", script: unsuited, code: 6, said: "python -m prefect.bundles.execute --key SCRATCH/bundle.json\n"},
		{name: "nobody to ask", without: true, script: unsuited, code: 6, said: "python -m prefect.bundles.execute --key SCRATCH/bundle.json\n"},
		{name: "no choice", environ: "FLOWSHIP_PREFECT_EXECUTOR=fast", code: execute.ExitUnavailable, err: `FLOWSHIP_PREFECT_EXECUTOR: "fast" is neither "engine" nor "stock"`},
		{name: "it was run", script: `echo "{}" > "$5"; exit 75`, said: "python SCRATCH/prefect_engine.py run bundle SCRATCH/bundle.json SCRATCH/notes-1.jsonl\npython SCRATCH/prefect_engine.py hooks bundle SCRATCH/bundle.json SCRATCH/state.json\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newForPrefect(t, store(t, nil, python("flow.py:main"), execute.FlowRun{}))
			p.program(t, "python", `echo "$(basename "$0")" "$@" | sed 's,/flowship-[0-9]*,,g'; eval "$SCRIPT"`)
			r := newRuns(p.id, orchestrator.TypePending)
			opts := execute.Options{Runs: r, Watcher: orchestrator.NewWatcher(r, 0)}
			if test.without {
				opts.Watcher = nil
			}
			p.environ = test.environ
			got := p.run(t, bundle.Digest{}, test.script, opts)
			text := ""
			if got.err != nil {
				text = got.err.Error()
			}
			if diff := cmp.Diff([]string{test.said, test.err}, []string{got.out, text}); diff != "" || got.code != test.code {
				t.Errorf("code %d; output, error (-want +got):\n%s", got.code, diff)
			}
		})
	}
}

// What could not even be started is CRASHED.
func TestRunForPrefectNotStarted(t *testing.T) {
	p := newForPrefect(t, store(t, nil, python("flow.py:main"), execute.FlowRun{}))
	p.asPrefect(t, "./evil")
	r := newRuns(p.id, orchestrator.TypePending)
	got := p.run(t, p.digest, "", execute.Options{Runs: r})
	if diff := cmp.Diff("CRASHED: Flow run could not start: dependency \"./evil\": Invalid PEP 508 dependency specifier", r.last()); diff != "" || got.err == nil {
		t.Errorf("%v; state (-want +got):\n%s", got.err, diff)
	}
	p = newForPrefect(t, store(t, nil, python("flow.py:main"), execute.FlowRun{}))
	got = p.run(t, p.digest, "", execute.Options{FlowRunID: "3f0c8a7e-0000-4000-8000-000000000000"})
	if bundle.KindOf(got.err) != bundle.KindRefused {
		t.Errorf("a document of another run: %v", got.err)
	}
}

// Whoever sees the state of a command or of a flow in Go finds its result there, and an executor
// whose run's end is known has nothing more to say.
func TestRunForPrefectTells(t *testing.T) {
	for _, test := range []struct {
		name, script string
		data         string // "" is none
		state        string
	}{
		{"result", `echo '{"rows": 3}' > "$FLOWSHIP_RESULT"`, `{"rows": 3}` + "\n", "COMPLETED: "},
		{"no result", "true", "", "COMPLETED: "},
		{"long result", `printf '"%070000d"' 1 > "$FLOWSHIP_RESULT"`, "", "COMPLETED: "},
		{"failed", "exit 4", "", "FAILED: the command ended with exit code 4"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newForPrefect(t, store(t, nil, sh(test.script), execute.FlowRun{}))
			r := newRuns(p.id, orchestrator.TypePending)
			got := p.run(t, bundle.Digest{}, "", execute.Options{Runs: r, Watcher: orchestrator.NewWatcher(r, 0)})
			if diff := cmp.Diff([]string{test.state, test.data}, []string{r.last(), string(r.current().Data)}); diff != "" || got.code != 0 || got.err != nil {
				t.Errorf("code %d, %v; state, data (-want +got):\n%s", got.code, got.err, diff)
			}
		})
	}
}

// A command whose run is cancelled by others is ended by its executor.
func TestRunForPrefectCancelled(t *testing.T) {
	p := newForPrefect(t, store(t, nil, sh("echo ready; exec sleep 600"), execute.FlowRun{}))
	r := newRuns(p.id, orchestrator.TypePending)
	out := &cancelling{runs: r}
	got := p.run(t, bundle.Digest{}, "", execute.Options{Runs: r, Watcher: orchestrator.NewWatcher(r, 0), Stdout: out})
	if got.code != 0 || got.err != nil || r.current().Type != orchestrator.TypeCancelled {
		t.Errorf("code %d, %v, state %+v", got.code, got.err, r.current())
	}
	p = newForPrefect(t, store(t, nil, sh("echo ready"), execute.FlowRun{}))
	r = newRuns(p.id, orchestrator.TypeCancelling)
	got = p.run(t, bundle.Digest{}, "", execute.Options{Runs: r})
	if got.code != 0 || got.err != nil || got.out != "" || r.last() != "CANCELLED: Flow run was cancelled before execution started." {
		t.Errorf("before it was run: code %d, %v, output %q, state %q", got.code, got.err, got.out, r.last())
	}
}

// A command that was interrupted by who cancels its run is not interrupted once more.
func TestRunForPrefectInterrupted(t *testing.T) {
	const script = `n=0; trap 'n=$((n+1)); echo int' INT; echo ready
		i=0; while [ $i -lt 15 ]; do sleep 0.1; i=$((i+1)); done; echo "interrupted $n"`
	p := newForPrefect(t, store(t, nil, sh(script), execute.FlowRun{}))
	r := newRuns(p.id, orchestrator.TypePending)
	out := &interrupting{cancelling: cancelling{r}, signals: make(chan os.Signal, 1)}
	p.run(t, bundle.Digest{}, "", execute.Options{Runs: r, Watcher: orchestrator.NewWatcher(r, 0), Stdout: out, Signals: out.signals})
	if diff := cmp.Diff("ready\nint\ninterrupted 1\n", out.said.String()); diff != "" || r.current().Type != orchestrator.TypeCancelled {
		t.Errorf("state %+v; output (-want +got):\n%s", r.current(), diff)
	}
}

// interrupting interrupts the command when it is ready, and then cancels the run.
type interrupting struct {
	cancelling
	signals chan os.Signal
	said    bytes.Buffer
}

func (i *interrupting) Write(p []byte) (int, error) {
	i.said.Write(p)
	switch i.said.String() {
	case "ready\n":
		i.signals <- os.Interrupt
	case "ready\nint\n":
		return i.cancelling.Write(p)
	}
	return len(p), nil
}

// cancelling cancels the run as soon as its command says something.
type cancelling struct{ runs *runs }

func (c *cancelling) Write(p []byte) (int, error) {
	_, err := c.runs.SetState(context.Background(), c.runs.id, orchestrator.NewState(orchestrator.TypeCancelling, ""), nil)
	return len(p), err
}

func (r *runs) current() orchestrator.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.states[len(r.states)-1]
}

func (r *runs) last() string { return string(r.current().Type) + ": " + r.current().Message }

func (r *runs) CurrentStates(_ context.Context, ids []string) (map[string]orchestrator.State, error) {
	states := map[string]orchestrator.State{}
	for _, id := range ids {
		if id == r.id {
			states[id] = r.current()
		}
	}
	return states, nil
}

func (r *runs) EndLost(context.Context) (int, error) { return 0, nil }
