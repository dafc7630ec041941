//go:build unix

package execute_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// counting is a script that counts its attempts in the working directory, as n.
const counting = `n=$(($(cat n 2>/dev/null || echo 0) + 1)); echo $n >n; `

func TestRetries(t *testing.T) {
	for _, test := range []struct {
		name, script string
		retries      int
		states       []string
		code         int
		message      string
		result       string
	}{
		{"succeeds", `[ -e "$FLOWSHIP_RESULT" ] && exit 9; echo $n >"$FLOWSHIP_RESULT"; [ $n = 3 ]`, 5,
			[]string{"Pending", "Running", "AwaitingRetry", "Retrying", "AwaitingRetry", "Retrying", "Completed"}, 0, "", "3"},
		{"fails", `[ $n = 1 ] && echo $n >"$FLOWSHIP_RESULT"; exit $n`, 1,
			[]string{"Pending", "Running", "AwaitingRetry", "Retrying", "Failed"}, 2, "the command ended with exit code 2", ""},
		{"takes too long", `[ $n = 2 ] || exec sleep 600`, 1,
			[]string{"Pending", "Running", "AwaitingRetry", "Retrying", "Completed"}, 0, "", ""},
		{"takes too long again", `exec sleep 600`, 1,
			[]string{"Pending", "Running", "AwaitingRetry", "Retrying", "TimedOut"}, 124, "the command ran longer than 100ms", ""},
		{"crashes", `kill -KILL $$`, 1,
			[]string{"Pending", "Running", "Crashed"}, 137, "the command was ended by signal SIGKILL, exit code 137", ""},
		{"without", `exit 4`, 0, []string{"Pending", "Running", "Failed"}, 4, "the command ended with exit code 4", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			run := execute.FlowRun{}
			if strings.HasPrefix(test.name, "takes") {
				run.Timeout = 0.1
			}
			s := store(t, nil, sh(counting+test.script), run)
			r := &recordedAtTheEnd{runs: newRuns(s.id, orchestrator.TypePending), t: t, s: s}
			r.policy = orchestrator.Policy{Retries: test.retries, RetryDelay: time.Millisecond}
			j := &journal{}
			o := s.run(t, execute.Options{Runs: r, Logs: j})
			if o.err != nil {
				t.Fatal(o.err)
			}
			if diff := cmp.Diff(test.states, r.names()); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			got := []string{fmt.Sprint(o.record.ExitCode), o.record.State.Message, strings.TrimSpace(string(o.record.Result))}
			if diff := cmp.Diff([]string{fmt.Sprint(test.code), test.message, test.result}, got); diff != "" {
				t.Errorf("code, message, result (-want +got):\n%s", diff)
			}
			if left := s.record(t); left.State.Name != o.record.State.Name {
				t.Errorf("record %+v", left)
			}
			if retried := strings.Count(strings.Join(test.states, " "), "AwaitingRetry"); len(j.logs) != retried {
				t.Errorf("%d retries, and logs %q", retried, j.lines())
			}
		})
	}
}

// recordedAtTheEnd fails the test when there is a record before the end, or none at the end.
type recordedAtTheEnd struct {
	*runs
	t *testing.T
	s *stored
}

func (r *recordedAtTheEnd) SetState(ctx context.Context, id string, proposed orchestrator.State, opts *orchestrator.SetStateOptions) (*orchestrator.Outcome, error) {
	out, err := r.runs.SetState(ctx, id, proposed, opts)
	if err == nil {
		_, err := os.Stat(filepath.Join(r.s.dir, execute.RecordKey(id)))
		if recorded := err == nil; recorded != out.State.Type.Final() {
			r.t.Errorf("%s: recorded: %v", out.State.Name, recorded)
		}
	}
	return out, err
}

// waiting does something as soon as the run waits for its next attempt.
type waiting struct {
	*runs
	do   func()
	once sync.Once
}

func (w *waiting) SetState(ctx context.Context, id string, proposed orchestrator.State, opts *orchestrator.SetStateOptions) (*orchestrator.Outcome, error) {
	out, err := w.runs.SetState(ctx, id, proposed, opts)
	if err == nil && out.State.Name == orchestrator.NameAwaitingRetry {
		w.once.Do(w.do)
	}
	return out, err
}

func TestStoppedBetweenAttempts(t *testing.T) {
	for _, test := range []struct {
		name    string
		script  string
		grouped bool
		do      func(w *waiting, signals chan<- os.Signal, cancel func(error))
		state   string
		message string
		code    int
	}{
		{"by a signal", "exit 1", false, func(_ *waiting, signals chan<- os.Signal, _ func(error)) { signals <- syscall.SIGTERM },
			"Crashed", `stopped by signal "terminated" while it waited for its next attempt`, 143},
		{"by another signal first", "exit 1", false, func(_ *waiting, signals chan<- os.Signal, _ func(error)) {
			signals <- syscall.SIGUSR1
			signals <- syscall.SIGINT
		}, "Crashed", `stopped by signal "interrupt" while it waited for its next attempt`, 130},
		{"by a hangup", "exit 1", true, func(_ *waiting, signals chan<- os.Signal, _ func(error)) { signals <- syscall.SIGHUP },
			"Crashed", "who started the run is gone", 129},
		{"by the context", "exit 1", false, func(_ *waiting, _ chan<- os.Signal, cancel func(error)) { cancel(orchestrator.ErrLeaseLost) },
			"Crashed", "stopped while it waited for its next attempt: the lease is gone", 130},
		{"being cancelled", "exit 1", false, func(w *waiting, signals chan<- os.Signal, _ func(error)) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.states = append(w.states, orchestrator.NewState(orchestrator.TypeCancelling, "enough"))
			signals <- syscall.SIGTERM
		}, "Cancelled", "enough", execute.ExitCancelled},
		{"by a signal that came before", "trap 'exit 1' TERM; echo ready; while :; do sleep 0.01; done", false, nil,
			"Crashed", `stopped by signal "terminated" while it waited for its next attempt`, 143},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := store(t, nil, sh(test.script), execute.FlowRun{})
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			signals := make(chan os.Signal, 4)
			w := &waiting{runs: newRuns(s.id, orchestrator.TypePending)}
			w.policy = orchestrator.Policy{Retries: 3, RetryDelay: time.Hour}
			w.do = func() {
				if test.do != nil {
					test.do(w, signals, cancel)
				}
			}
			out := writerFunc(func([]byte) { signals <- syscall.SIGTERM })
			r, err := execute.Run(ctx, s.url, s.key, s.digest, &execute.Options{
				Dir: s.work, Stdout: out, Stderr: writerFunc(func([]byte) {}), Runs: w, Signals: signals, Grouped: test.grouped,
			})
			if err != nil {
				t.Fatal(err)
			}
			got := []string{r.State.Name, r.State.Message, fmt.Sprint(r.ExitCode)}
			if diff := cmp.Diff([]string{test.state, test.message, fmt.Sprint(test.code)}, got); diff != "" {
				t.Errorf("state, message, code (-want +got):\n%s", diff)
			}
			if names := w.names(); names[len(names)-1] != test.state {
				t.Errorf("states %q", names)
			}
		})
	}
}

// A run that is being cancelled when its next attempt is due is not run again.
func TestCancelledBeforeTheNextAttempt(t *testing.T) {
	s := store(t, nil, sh(counting+"exit 1"), execute.FlowRun{})
	w := &waiting{runs: newRuns(s.id, orchestrator.TypePending)}
	w.policy.Retries = 3
	w.do = func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.states = append(w.states, orchestrator.NewState(orchestrator.TypeCancelling, "enough"))
	}
	o := s.run(t, execute.Options{Runs: w})
	if o.err != nil || o.record.State.Type != orchestrator.TypeCancelled || o.record.ExitCode != execute.ExitCancelled {
		t.Errorf("%+v, %v", o.record, o.err)
	}
	if diff := cmp.Diff([]string{"Pending", "Running", "AwaitingRetry", "Cancelling", "Cancelled"}, w.names()); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if n, err := os.ReadFile(filepath.Join(s.work, "n")); string(n) != "1\n" {
		t.Errorf("%q attempts, %v", n, err)
	}
}

// Whoever settles a run does not run it again.
func TestSettleFailed(t *testing.T) {
	r := newRuns("r", orchestrator.TypeRunning)
	r.policy.Retries, r.count = 1, 1
	record := &execute.Record{ID: "r", State: orchestrator.NewState(orchestrator.TypeFailed, "no luck")}
	if err := record.Settle(t.Context(), "", r, nil); err != nil || !record.Told {
		t.Fatalf("%+v, %v", record, err)
	}
	if diff := cmp.Diff([]string{"Running", "AwaitingRetry", "Crashed"}, r.names()); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if want := "nobody is there to run it again: no luck"; record.State.Message != want {
		t.Errorf("message %q, want %q", record.State.Message, want)
	}
}
