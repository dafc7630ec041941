//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// waitFor returns the contents of a file once it is there and not empty.
func waitFor(t *testing.T, path string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
			return strings.TrimSpace(string(b))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s was not written", path)
		}
	}
}

// wantGone waits until the process whose number is in a file exists no more: one that was killed is there a little longer. One that ended
// and was not waited for is gone.
func wantGone(t *testing.T, path string) {
	t.Helper()
	pid, err := strconv.Atoi(waitFor(t, path))
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(stat), ") Z ") {
			return
		}
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("process %d of %s still runs", pid, filepath.Base(path))
			syscall.Kill(pid, syscall.SIGKILL)
			return
		}
	}
}

func TestRunCommand(t *testing.T) {
	for _, test := range []struct {
		name, script string
		code         int
	}{
		{"success", "exit 0", 0},
		{"its own code", "exit 7", 7},
		{"its environment", `[ "$SERVER" = here ] || exit 1`, 0},
		{"killed", "kill -KILL $$", 137},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, err := runCommand([]string{"/bin/sh", "-c", test.script}, []string{"SERVER=here"}, nil)
			if err != nil || code != test.code {
				t.Errorf("code %d, error %v; want code %d", code, err, test.code)
			}
		})
	}
	if code, err := runCommand([]string{"/does/not/exist"}, nil, nil); err == nil || code != 127 {
		t.Errorf("missing command: code %d, error %v; want 127 and an error", code, err)
	}
}

func TestRunCommandPassesSignals(t *testing.T) {
	dir := t.TempDir()
	signals := make(chan os.Signal, 1)
	script := `trap 'exit 9' TERM; echo $$ >"$0/pid"; while :; do sleep 0.01; done`
	code := make(chan int, 1)
	go func() {
		c, err := runCommand([]string{"/bin/sh", "-c", script, dir}, nil, signals)
		if err != nil {
			t.Error(err)
		}
		code <- c
	}()
	waitFor(t, filepath.Join(dir, "pid"))
	signals <- syscall.SIGTERM
	if c := <-code; c != 9 {
		t.Errorf("code %d, want 9", c)
	}
}

func TestRunCommandLeavesNothingBehind(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	if _, err := runCommand([]string{"/bin/sh", "-c", `sleep 600 & echo $! >"$0"; kill -KILL $$`, pid}, nil, nil); err != nil {
		t.Fatal(err)
	}
	wantGone(t, pid)
}

// TestMain lets the test program itself be a server, in the process that startStub starts.
func TestMain(m *testing.M) {
	if addr := os.Getenv("TESTBED_STUB"); addr != "" {
		err := http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up") }))
		fmt.Println("stub:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// stub is a server whose process starts another one, and notes both numbers in dir. Both ignore TERM, so only KILL to their group ends them.
func stub(name, addr, dir string) server {
	return server{name: name, start: func(ctx context.Context, p *place) ([]string, error) {
		cmd := exec.Command("/bin/sh", "-c", `trap '' TERM; sleep 600 & echo $! >"$1/$2.child"; echo $$ >"$1/$2.pid"; exec "$0"`, os.Args[0], dir, name)
		cmd.Env = append(os.Environ(), "TESTBED_STUB="+addr)
		d, err := p.daemon("stub", cmd)
		if err != nil {
			return nil, err
		}
		d.grace = 100 * time.Millisecond
		return []string{strings.ToUpper(name) + "=" + addr}, d.waitFor(ctx, "http://"+addr+"/", 20*time.Second, answering("http://"+addr+"/"))
	}}
}

func freeAddress(t *testing.T) string {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func TestStartAll(t *testing.T) {
	dir, temp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("FLOWSHIP_TESTBED_DIR", t.TempDir())
	a, b := freeAddress(t), freeAddress(t)
	bed, err := startAll(nil, []server{stub("a", a, dir), stub("b", b, dir)}, true, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A=" + a, "B=" + b}, bed.env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	bed.stop()
	for _, name := range []string{"a.pid", "a.child", "b.pid", "b.child"} {
		wantGone(t, filepath.Join(dir, name))
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v (%v)", left, err)
	}
}

func TestStartAllFails(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("FLOWSHIP_TESTBED_DIR", t.TempDir())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	// Its address is taken by something that accepts and never answers, so the stub ends.
	_, err = startAll(nil, []server{stub("a", taken.Addr().String(), dir), stub("b", freeAddress(t), dir)}, true, io.Discard)
	want := "a: ended before it was ready:\nstub: listen tcp " + taken.Addr().String() + ": bind: address already in use"
	if err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
	// The other one may have been stopped before it noted anything.
	notes, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(notes) < 2 {
		t.Errorf("notes %v (%v), want those of the one that failed", notes, err)
	}
	for _, note := range notes {
		wantGone(t, note)
	}
}

func TestStartAllIsInterrupted(t *testing.T) {
	t.Setenv("FLOWSHIP_TESTBED_DIR", t.TempDir())
	signals := make(chan os.Signal, 1)
	waits := server{name: "waits", start: func(ctx context.Context, _ *place) ([]string, error) {
		signals <- syscall.SIGINT
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}}
	_, err := startAll(signals, []server{waits}, true, io.Discard)
	if err == nil || err.Error() != `waits: stopped by signal "interrupt"` {
		t.Errorf("error %v", err)
	}
}
