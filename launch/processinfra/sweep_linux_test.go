package processinfra_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
)

// orphan starts a job from a program that is killed as soon as the job has noted its number.
func orphan(t *testing.T, dir, script string) (pid int) {
	t.Helper()
	note := filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command(os.Args[0], sh(script, note)...)
	cmd.Env = append(os.Environ(), parentVariable+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid = pidIn(t, note)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	return pid
}

// next runs another job in the directory, which sweeps it.
func next(t *testing.T, dir string) {
	t.Helper()
	wait(t, start(t, dir, launch.Job{Command: sh("exit 0")}))
}

func TestParentIsKilled(t *testing.T) {
	dir := t.TempDir()
	pid := orphan(t, dir, `echo $$ >"$1"; exec sleep 600`)
	until(t, "the process is gone", func() bool { return gone(pid) })
	using := start(t, dir, launch.Job{Command: []string{"sleep", "600"}})
	next(t, dir)
	if dirs, err := filepath.Glob(filepath.Join(dir, "*", "work")); err != nil || len(dirs) != 1 {
		t.Errorf("directories %v, %v; want only the one in use", dirs, err)
	}
	if err := using.Stop(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	wait(t, using)
	wantEmpty(t, dir)
}

// A job that outlives the program that started it keeps its directory, and so does what such a
// job leaves running.
func TestOutlivesItsParent(t *testing.T) {
	for name, script := range map[string]string{
		"the job":        `trap '' HUP; echo content >f; echo $$ >"$1"; exec sleep 600`,
		"what it starts": `(trap '' HUP; exec sleep 600) & echo content >f; echo $! >"$1"; wait`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			pid := orphan(t, dir, script)
			defer syscall.Kill(pid, syscall.SIGKILL)
			next(t, dir)
			if files, err := filepath.Glob(filepath.Join(dir, "*", "work", "f")); err != nil || len(files) != 1 {
				t.Errorf("files %v, %v; want that of the process which still runs", files, err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			// The shell that waited for it holds the directory a moment longer.
			until(t, "the directory is swept", func() bool {
				next(t, dir)
				entries, err := os.ReadDir(dir)
				return err == nil && len(entries) == 0
			})
		})
	}
}

// A program may be killed at any moment, and a removal may fail halfway.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	put := func(path string, lock bool) {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		if !lock {
			return
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			t.Fatal(err)
		}
	}
	put("flowship-run-1.lock", false)
	put("flowship-run-2.lock", false)
	put("flowship-run-2/work/f", false)
	put("flowship-run-3.lock", true)
	put("flowship-run-3/work/f", false)
	put("flowship-kept-4/work/f", false)
	put("other.lock", false)
	put("other/f", false)
	next(t, dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	want := []string{"flowship-kept-4", "flowship-run-3", "flowship-run-3.lock", "other", "other.lock"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after the sweep (-want +got):\n%s", diff)
	}
}
