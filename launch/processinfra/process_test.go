//go:build unix

package processinfra_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/infratest"
	"github.com/flowship/flowship/launch/processinfra"
)

// until waits for a condition.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	infratest.Until(t.Context(), t, 20*time.Second, what, done)
}

// pidIn waits for the file in which a process notes its number.
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

// gone reports whether the process has ended; a zombie has.
func gone(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(stat), ") Z ") {
		return true
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func start(t *testing.T, dir string, job launch.Job) *launch.Running {
	t.Helper()
	infra := launch.New(processinfra.Type, processinfra.New(&processinfra.Options{Dir: dir}))
	r, err := infra.Start(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sh(script string, args ...string) []string {
	return append([]string{"sh", "-c", script, "sh"}, args...)
}

func wait(t *testing.T, r *launch.Running) *launch.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	exit, err := r.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

func TestExit(t *testing.T) {
	for _, test := range []struct {
		name, script string
		want         launch.Exit
		out, err     string
	}{
		{"success", "echo out; echo err >&2", launch.Exit{}, "out\n", "err\n"},
		{"its own code", "exit 7", launch.Exit{Code: 7}, "", ""},
		{"killed", "kill -KILL $$", launch.Exit{Code: 137, Signal: 9}, "", ""},
		{"terminated", "kill -TERM $$", launch.Exit{Code: 143, Signal: 15}, "", ""},
		{"no input", "cat; echo read", launch.Exit{}, "read\n", ""},
		{"environment", `echo "$MODE" "$FLOWSHIP_STOP"`, launch.Exit{}, "fast group\n", ""},
		{"a fresh directory", `find . && touch here && ls "$FLOWSHIP_SCRATCH"`, launch.Exit{}, ".\n", ""},
		{"a read-only directory", `mkdir d && touch d/f && chmod 500 d`, launch.Exit{}, "", ""},
		{"closes its output", `exec >&- 2>&-; exit 3`, launch.Exit{Code: 3}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			var out, errs bytes.Buffer
			r := start(t, dir, launch.Job{Command: sh(test.script), Env: []string{"MODE=fast"}, Stdout: &out, Stderr: &errs})
			if diff := cmp.Diff(&test.want, wait(t, r)); diff != "" {
				t.Errorf("exit (-want +got):\n%s", diff)
			}
			if out.String() != test.out || errs.String() != test.err {
				t.Errorf("output %q and %q, want %q and %q", out.String(), errs.String(), test.out, test.err)
			}
			wantEmpty(t, dir)
		})
	}
}

func TestStartFails(t *testing.T) {
	for name, job := range map[string]launch.Job{
		"no command":       {},
		"no such command":  {Command: []string{"no-such-command-anywhere"}},
		"null byte":        {Command: []string{"true", "a\x00b"}},
		"not a program":    {Command: []string{"/dev/null"}},
		"bad environment":  {Command: []string{"true"}, Env: []string{"=x"}},
		"pipes go as well": {Command: []string{"/no/such/file"}, Stdout: io.Discard},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			infra := launch.New(processinfra.Type, processinfra.New(&processinfra.Options{Dir: dir}))
			if _, err := infra.Start(t.Context(), job); err == nil {
				t.Error("it started")
			}
			wantEmpty(t, dir)
		})
	}
}

func TestKeep(t *testing.T) {
	dir := t.TempDir()
	exit := wait(t, start(t, dir, launch.Job{Command: sh("echo content >f"), Keep: true}))
	wait(t, start(t, dir, launch.Job{Command: sh("exit 0")}))
	if b, err := os.ReadFile(filepath.Join(exit.Dir, "f")); string(b) != "content\n" {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestOutputToAFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	wait(t, start(t, t.TempDir(), launch.Job{Command: sh("echo out; echo err >&2"), Stdout: f, Stderr: f}))
	if b, _ := os.ReadFile(f.Name()); string(b) != "out\nerr\n" {
		t.Errorf("the file holds %q", b)
	}
}

// A process that writes without end is told when nobody reads any more.
func TestNobodyReads(t *testing.T) {
	r := start(t, t.TempDir(), launch.Job{Command: []string{"yes"}, Stdout: &limited{left: 1 << 20}})
	if exit := wait(t, r); exit.Signal != int(syscall.SIGPIPE) {
		t.Errorf("exit %+v, want SIGPIPE", exit)
	}
}

type limited struct{ left int }

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestStop(t *testing.T) {
	// Where a signal that is not ignored ends the process, the grace period is long enough for
	// a busy machine.
	for _, test := range []struct {
		name, script string
		grace        time.Duration
		want         launch.Exit
	}{
		{"interrupt", `echo $$ >"$1"; exec sleep 600`, time.Minute, launch.Exit{Code: 130, Signal: 2}},
		{"cleans up", `trap 'exit 5' INT; echo $$ >"$1"; while :; do sleep 0.01; done`, time.Minute, launch.Exit{Code: 5}},
		{"terminate", `trap '' INT; echo $$ >"$1"; exec sleep 600`, 2 * time.Second, launch.Exit{Code: 143, Signal: 15}},
		{"kill", `trap '' INT TERM; echo $$ >"$1"; exec sleep 600`, 50 * time.Millisecond, launch.Exit{Code: 137, Signal: 9}},
		{"its child too", `trap '' INT TERM; sleep 600 & echo $! >"$1"; wait; wait`, 50 * time.Millisecond, launch.Exit{Code: 137, Signal: 9}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir, note := t.TempDir(), filepath.Join(t.TempDir(), "pid")
			r := start(t, dir, launch.Job{Command: sh(test.script, note)})
			pid := pidIn(t, note)
			if err := r.Stop(t.Context(), test.grace); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(&test.want, wait(t, r)); diff != "" {
				t.Errorf("exit (-want +got):\n%s", diff)
			}
			until(t, "the process is gone", func() bool { return gone(pid) })
			wantEmpty(t, dir)
		})
	}
}

// A process leads a session and a group of its own.
func TestSession(t *testing.T) {
	note := filepath.Join(t.TempDir(), "pid")
	r := start(t, t.TempDir(), launch.Job{Command: sh(`echo $$ >"$1"; exec sleep 600`, note)})
	pid := pidIn(t, note)
	if session, err := unix.Getsid(pid); err != nil || session != pid {
		t.Errorf("the session of %d is %d, %v", pid, session, err)
	}
	if group, err := unix.Getpgid(pid); err != nil || group != pid {
		t.Errorf("the group of %d is %d, %v", pid, group, err)
	}
	if err := r.Stop(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	wait(t, r)
}

func TestStopAfterTheEnd(t *testing.T) {
	r := start(t, t.TempDir(), launch.Job{Command: sh("exit 0")})
	wait(t, r)
	if err := r.Stop(t.Context(), time.Second); err != nil {
		t.Error(err)
	}
	if exit := wait(t, r); exit.Code != 0 {
		t.Errorf("the second time it is %+v", exit)
	}
}

// What a process leaves running in its group ends with it, and does not hold up its output.
func TestGrandchildren(t *testing.T) {
	dir, note := t.TempDir(), filepath.Join(t.TempDir(), "pid")
	var out bytes.Buffer
	r := start(t, dir, launch.Job{Command: sh(`sleep 600 & echo $! >"$1"; echo out; exit 4`, note), Stdout: &out})
	if exit := wait(t, r); exit.Code != 4 || out.String() != "out\n" {
		t.Errorf("exit %+v, output %q", exit, out.String())
	}
	pid := pidIn(t, note)
	until(t, "the grandchild is gone", func() bool { return gone(pid) })
	wantEmpty(t, dir)
}

func TestFind(t *testing.T) {
	infra := launch.New(processinfra.Type, processinfra.New(&processinfra.Options{Dir: t.TempDir()}))
	note := filepath.Join(t.TempDir(), "pid")
	r, err := infra.Start(t.Context(), launch.Job{Command: sh(`echo $$ >"$1"; exec sleep 600`, note)})
	if err != nil {
		t.Fatal(err)
	}
	found, err := infra.Find(t.Context(), r.ID(), nil)
	if err != nil {
		t.Fatal(err)
	}
	pidIn(t, note)
	if err := found.Stop(t.Context(), time.Second); err != nil {
		t.Error(err)
	}
	wait(t, found)
	if _, err := infra.Find(t.Context(), r.ID()+"0", nil); !errors.Is(err, launch.ErrNotFound) {
		t.Errorf("find: %v, want ErrNotFound", err)
	}
}

func TestWaitGivesUp(t *testing.T) {
	r := start(t, t.TempDir(), launch.Job{Command: []string{"sleep", "600"}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v, want Canceled", err)
	}
	if err := r.Stop(t.Context(), time.Second); err != nil {
		t.Error(err)
	}
	wait(t, r)
}

func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	infra := launch.New(processinfra.Type, processinfra.New(&processinfra.Options{Dir: dir}))
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			r, err := infra.Start(t.Context(), launch.Job{Command: sh("exit " + strconv.Itoa(i))})
			if err != nil {
				t.Error(err)
				return
			}
			if exit, err := r.Wait(t.Context()); err != nil || exit.Code != i {
				t.Errorf("%d: %+v, %v", i, exit, err)
			}
		})
	}
	wg.Wait()
	wantEmpty(t, dir)
}

const parentVariable = "FLOWSHIP_TEST_PARENT"

// With [parentVariable], the test program is one that runs its arguments as a job in that
// directory.
func TestMain(m *testing.M) {
	dir := os.Getenv(parentVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	infra := launch.New(processinfra.Type, processinfra.New(&processinfra.Options{Dir: dir}))
	r, err := infra.Start(context.Background(), launch.Job{Command: os.Args[1:]})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	r.Wait(context.Background())
}
