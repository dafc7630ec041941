//go:build unix

package execute_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// journal is a LogWriter in memory.
type journal struct {
	mu      sync.Mutex
	logs    []orchestrator.Log
	largest int // number of bytes in one call
	err     error
}

func (j *journal) WriteLogs(_ context.Context, logs []orchestrator.Log) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	size := 0
	for _, l := range logs {
		size += len(l.Message)
	}
	j.largest = max(j.largest, size)
	j.logs = append(j.logs, logs...)
	return nil
}

// lines are the logs as "name level message".
func (j *journal) lines() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := []string{}
	for _, l := range j.logs {
		lines = append(lines, fmt.Sprintf("%s %d %s", strings.TrimPrefix(l.Name, "flowship."), l.Level, l.Message))
	}
	return lines
}

func TestOutputIsKept(t *testing.T) {
	for _, test := range []struct {
		name, script string
		want         []string
		out          string
	}{
		{"lines", `printf 'a\n\nb\r\n c'`, []string{"stdout 20 a", "stdout 20 ", "stdout 20 b", "stdout 20  c"}, "a\n\nb\r\n c"},
		{"nothing", `:`, []string{}, ""},
		{"no UTF-8", `printf 'a\377\303\251\303'`, []string{"stdout 20 a\uFFFDé\uFFFD"}, "a\xffé\xc3"},
		{"in pieces", `printf a; sleep 0.02; printf 'b\nc'; sleep 0.02; printf 'd\n'`, []string{"stdout 20 ab", "stdout 20 cd"}, "ab\ncd\n"},
		{"of a failure", `printf 'last words'; kill -KILL $$`, []string{"stdout 20 last words"}, "last words"},
		{"errors", `echo a >&2`, []string{"stderr 20 a"}, ""},
		{"records", `echo '{"level": 30, "message": "training dataset=a"}' >>"$FLOWSHIP_LOGS"; echo '{"message": "b", "name": "etl"}' >>"$FLOWSHIP_LOGS"; printf 'no record' >>"$FLOWSHIP_LOGS"; kill -KILL $$`,
			[]string{"flow 30 training dataset=a", "etl 20 b", "flow 20 no record"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := &journal{}
			o := store(t, nil, sh(test.script), execute.FlowRun{}).run(t, execute.Options{Logs: j})
			if o.err != nil || o.out != test.out {
				t.Errorf("output %q, want %q; %v", o.out, test.out, o.err)
			}
			if diff := cmp.Diff(test.want, j.lines()); diff != "" {
				t.Errorf("logs (-want +got):\n%s", diff)
			}
			for _, l := range j.logs {
				if l.FlowRunID != o.record.ID || l.Timestamp.Before(o.record.Started) {
					t.Errorf("%+v", l)
				}
			}
		})
	}
}

// What a logger says is shown on the standard error.
func TestRecordsAreShown(t *testing.T) {
	const script = `printf '%s\n' '{"level": 10, "message": "a\nb", "timestamp": "2026-01-02T03:04:05.5Z"}' '{"level": 40, "message": "c"}' >>"$FLOWSHIP_LOGS"`
	at := time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC)
	for _, j := range []*journal{nil, {}} {
		opts := execute.Options{}
		if j != nil {
			opts.Logs = j
		}
		o := store(t, nil, sh(script), execute.FlowRun{}).run(t, opts)
		want := "^" + at.Local().Format("15:04:05.000") + ` DEBUG a\nb\n\d\d:\d\d:\d\d\.\d\d\d ERROR c\n$`
		if !regexp.MustCompile(want).MatchString(o.errOut) {
			t.Errorf("errors %q, want %q", o.errOut, want)
		}
		if j != nil && !j.logs[0].Timestamp.Equal(at) {
			t.Errorf("%+v", j.logs[0])
		}
	}
}

// Records are read while the program runs, not only afterwards.
func TestRecordsAreFollowed(t *testing.T) {
	s := store(t, nil, sh(`echo '{"message": "now"}' >>"$FLOWSHIP_LOGS"; while ! [ -e seen ]; do sleep 0.01; done`), execute.FlowRun{Timeout: 20})
	seen := writerFunc(func(p []byte) { os.WriteFile(filepath.Join(s.work, "seen"), nil, 0o600) })
	r, err := execute.Run(t.Context(), s.url, s.key, s.digest, &execute.Options{Dir: s.work, Stdout: io.Discard, Stderr: seen})
	if err != nil || r.ExitCode != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// A line of any length passes through as it is, and is kept as far as a log is long.
func TestLongLine(t *testing.T) {
	j := &journal{}
	o := store(t, nil, sh(`head -c 10485760 /dev/zero | tr '\0' x; echo; echo after`), execute.FlowRun{}).run(t, execute.Options{Logs: j})
	if o.err != nil || o.out != strings.Repeat("x", 10<<20)+"\nafter\n" {
		t.Errorf("%d bytes of output, %v", len(o.out), o.err)
	}
	lines := j.lines()
	if len(lines) != 2 || lines[1] != "stdout 20 after" || len(j.logs[0].Message) != orchestrator.MaxMessage || !strings.HasSuffix(j.logs[0].Message, "x"+orchestrator.MessageCut) {
		t.Errorf("%d lines, the first has %d bytes", len(lines), len(j.logs[0].Message))
	}
}

// So much output is kept, and no more.
func TestMuchOutput(t *testing.T) {
	j := &journal{}
	s := store(t, nil, sh(`yes "$(printf %1000s)" | head -n 20000; echo '{"message": "still heard"}' >>"$FLOWSHIP_LOGS"`), execute.FlowRun{})
	o := s.run(t, execute.Options{Logs: j})
	if o.err != nil || len(o.out) != 20000*1001 {
		t.Errorf("%d bytes of output, %v", len(o.out), o.err)
	}
	size, rest := 0, []string{}
	for _, line := range j.lines() {
		if message, ok := strings.CutPrefix(line, "stdout 20 "); ok {
			size += len(message)
		} else {
			rest = append(rest, line)
		}
	}
	if size < 14<<20 || size > 16<<20 || j.largest > 300<<10 {
		t.Errorf("%d bytes are kept, at most %d at once", size, j.largest)
	}
	want := []string{"stdout 30 this run prints more than 16 MiB: the rest of its output is not kept", "flow 20 still heard"}
	if diff := cmp.Diff(want, rest); diff != "" {
		t.Errorf("other logs (-want +got):\n%s", diff)
	}
}

// Where both end in one file, their order is kept.
func TestOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	again, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	s := store(t, nil, sh(`i=0; while [ $i -lt 400 ]; do echo $i; i=$((i+1)); echo $i >&2; i=$((i+1)); done`), execute.FlowRun{})
	j := &journal{}
	if r, err := execute.Run(t.Context(), s.url, s.key, s.digest, &execute.Options{Dir: s.work, Stdout: f, Stderr: again, Logs: j}); err != nil || r.ExitCode != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	var want bytes.Buffer
	lines := []string{}
	for i := range 400 {
		fmt.Fprintln(&want, i)
		lines = append(lines, fmt.Sprintf("stdout 20 %d", i))
	}
	got, err := os.ReadFile(path)
	if diff := cmp.Diff(want.String(), string(got)); diff != "" || err != nil {
		t.Errorf("output (-want +got):\n%s%v", diff, err)
	}
	if diff := cmp.Diff(lines, j.lines()); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
}

// Something that the command left running does not hold up the end, even if it goes on writing.
func TestOutputHeldOpen(t *testing.T) {
	for name, script := range map[string]string{
		"silent":  "sleep 600 & echo $! >pid; echo done",
		"talking": "yes & echo $! >pid; echo done",
	} {
		t.Run(name, func(t *testing.T) {
			j := &journal{}
			s := store(t, nil, sh(script), execute.FlowRun{})
			// Of a shared group, the executor leaves to others what is left.
			o := s.run(t, execute.Options{Logs: j, Grouped: true})
			var pid int
			text, _ := os.ReadFile(filepath.Join(s.work, "pid"))
			if _, err := fmt.Sscan(string(text), &pid); err != nil {
				t.Fatal(err)
			}
			defer syscall.Kill(pid, syscall.SIGKILL)
			if o.err != nil || o.record.ExitCode != 0 || !strings.Contains(o.out, "done\n") {
				t.Errorf("%+v, %v, %d bytes", o.record, o.err, len(o.out))
			}
			if took := o.record.Ended.Sub(o.record.Started); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// Whoever does not read the output any more stops the command, not the executor.
func TestOutputIsNotRead(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	s := store(t, nil, command("yes"), execute.FlowRun{})
	record, err := execute.Run(t.Context(), s.url, s.key, s.digest, &execute.Options{Dir: s.work, Stdout: w, Stderr: io.Discard, Logs: &journal{}})
	if err != nil || record.State.Message != "the command was ended by signal SIGPIPE, exit code 141" {
		t.Errorf("%+v, %v", record, err)
	}
}

// fullDisk is where nothing can be written to any more.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// The program may have ended before its output turns out to be lost.
func TestOutputIsLost(t *testing.T) {
	s := store(t, nil, command("echo", "hello"), execute.FlowRun{})
	logs := &journal{}
	var stderr bytes.Buffer
	record, err := execute.Run(t.Context(), s.url, s.key, s.digest, &execute.Options{Dir: s.work, Stdout: fullDisk{}, Stderr: &stderr, Logs: logs})
	if err != nil || record.State.Type != orchestrator.TypeCompleted {
		t.Errorf("%+v, %v", record, err)
	}
	const message = "standard output could not be passed on: no space left on device"
	if diff := cmp.Diff("warning: "+message+"\n", stderr.String()); diff != "" {
		t.Errorf("standard error (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"stdout 30 " + message, "stdout 20 hello"}, logs.lines()); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
}

// A reader that reads nothing holds up the end only until an end is asked for.
func TestOutputIsStuck(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	s := store(t, nil, sh("head -c 100000 /dev/zero; touch written; exit 3"), execute.FlowRun{})
	signals := make(chan os.Signal, 1)
	var watch sync.WaitGroup
	watch.Go(func() {
		for tick := time.Tick(time.Millisecond); t.Context().Err() == nil; <-tick {
			if _, err := os.Stat(filepath.Join(s.work, "written")); err == nil {
				signals <- syscall.SIGTERM
				return
			}
		}
	})
	defer watch.Wait()
	record, err := execute.Run(t.Context(), s.url, s.key, s.digest, &execute.Options{
		Dir: s.work, Stdout: w, Stderr: io.Discard, Logs: &journal{}, Signals: signals, Grace: 50 * time.Millisecond,
	})
	if err != nil || record.State.Type == orchestrator.TypeCompleted {
		t.Errorf("%+v, %v", record, err)
	}
}

// Logs that cannot be written fail no run.
func TestLogsAreLost(t *testing.T) {
	j := &journal{err: errors.New("disk full")}
	o := store(t, nil, sh("echo a; sleep 0.5; echo b"), execute.FlowRun{}).run(t, execute.Options{Logs: j})
	if o.err != nil || o.record.ExitCode != 0 || o.out != "a\nb\n" {
		t.Errorf("%+v, %v, output %q", o.record, o.err, o.out)
	}
	if want := "warning: the logs of the run could not be stored: disk full\n"; o.errOut != want {
		t.Errorf("errors %q, want %q", o.errOut, want)
	}
}
