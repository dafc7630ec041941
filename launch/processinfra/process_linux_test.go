package processinfra_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/processinfra"
)

// A process that is stopped, as by SIGSTOP, gets the signal as well.
func TestStopStopped(t *testing.T) {
	note := filepath.Join(t.TempDir(), "pid")
	r := start(t, t.TempDir(), launch.Job{Command: sh(`echo $$ >"$1"; kill -STOP $$; exec sleep 600`, note)})
	stat := fmt.Sprintf("/proc/%d/stat", pidIn(t, note))
	until(t, "the process is stopped", func() bool {
		b, err := os.ReadFile(stat)
		return err == nil && strings.Contains(string(b), ") T ")
	})
	if err := r.Stop(t.Context(), 10*time.Second); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(&launch.Exit{Code: 130, Signal: 2}, wait(t, r)); diff != "" {
		t.Errorf("exit (-want +got):\n%s", diff)
	}
}

// For Linux, the parent of a process is a thread. That the one which asked for it has ended is
// no reason to hang up.
func TestThreadEnds(t *testing.T) {
	dir := t.TempDir()
	note, goOn := filepath.Join(dir, "pid"), filepath.Join(dir, "go")
	var out bytes.Buffer
	infra := launch.New(processinfra.Type, processinfra.New(nil))
	var r *launch.Running
	var err error
	thread := make(chan int)
	ask := func() {
		runtime.LockOSThread() // and never unlock it: then the thread ends with the goroutine
		r, err = infra.Start(t.Context(), launch.Job{
			Command: sh(`trap 'echo hung up' HUP; echo $$ >"$1"; until [ -e "$2" ]; do sleep 0.01; done`, note, goOn),
			Stdout:  &out,
		})
		thread <- syscall.Gettid()
	}
	go func() {
		runtime.LockOSThread()
		if syscall.Gettid() != syscall.Getpid() {
			ask()
			return
		}
		// The first thread never ends. While it is taken, another goroutine gets another.
		defer runtime.UnlockOSThread()
		var other sync.WaitGroup
		other.Go(ask)
		other.Wait()
	}()
	task := fmt.Sprintf("/proc/self/task/%d", <-thread)
	if err != nil {
		t.Fatal(err)
	}
	pidIn(t, note)
	until(t, "the thread has ended", func() bool {
		_, err := os.Stat(task)
		return os.IsNotExist(err)
	})
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, r); exit.Code != 0 || out.String() != "" {
		t.Errorf("exit %+v, output %q", exit, out.String())
	}
}
