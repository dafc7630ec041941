//go:build linux

package submit_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/orchestrator"
)

// A submitter that is killed takes the command along, and the run ends.
func TestSubmitterIsKilled(t *testing.T) {
	b := newBed(t)
	note := filepath.Join(t.TempDir(), "pid")
	cmd := b.submitter(`echo $$ >` + note + `; exec sleep 600`)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := pidIn(t, note)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	until(t, "the command is gone", func() bool { return gone(pid) })
	if run := b.lastRun(t); run.State.Type != orchestrator.TypeCrashed || run.State.Message != "who started the run is gone" {
		t.Errorf("state %+v", run.State)
	}
}

// What the command started goes with it, even if it pays no attention.
func TestSubmitterIsKilledWithChildren(t *testing.T) {
	b := newBed(t)
	note := filepath.Join(t.TempDir(), "pid")
	cmd := b.submitter(`sh -c 'trap "" TERM HUP; echo $$ >` + note + `; exec sleep 600' & wait`)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := pidIn(t, note)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	until(t, "the command's child is gone", func() bool { return gone(pid) })
	b.lastRun(t)
}

func (b *bed) submitter(script string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), submitterVariable+"="+script, "FLOWSHIP_HOME="+b.home)
	return cmd
}

// Killing a submitter at any moment leaves no half object under its name, no process, and a
// home that works.
func TestKilledAnywhere(t *testing.T) {
	b := newBed(t)
	note := filepath.Join(t.TempDir(), "pid")
	// Content that does not compress makes packing and storing take a while.
	noise := make([]byte, 4<<20)
	rand.Read(noise)
	for i := range 16 {
		dir := tree(t, map[string]string{"f": hex.EncodeToString(noise[i:]), "g": "content\n"})
		os.Remove(note)
		cmd := b.submitter(`echo $$ >` + note + `; exec sleep 600`)
		cmd.Env = append(cmd.Env, "BASE="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.NewTimer(time.Duration(i) * 12 * time.Millisecond)
		<-timer.C
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		b.wantNoChild(t, dir)
		b.wantWholeObjects(t)
	}
	if run, err := b.client.Run(t.Context(), runNothing()); err != nil || run.State.Type != orchestrator.TypeCompleted {
		t.Errorf("the home does not work: %+v, %v", run, err)
	}
}

// wantNoChild waits until no process is left that was started with the base directory.
func (b *bed) wantNoChild(t *testing.T, base string) {
	t.Helper()
	until(t, "no process is left", func() bool {
		environs, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range environs {
			if env, err := os.ReadFile(path); err == nil && bytes.Contains(env, []byte("BASE="+base+"\x00")) {
				return false
			}
		}
		return true
	})
}

// wantWholeObjects verifies every object that has its final name.
func (b *bed) wantWholeObjects(t *testing.T) {
	t.Helper()
	store := filepath.Join(b.home, "store")
	for _, key := range b.stored(t) {
		switch {
		case strings.HasSuffix(key, ".tmp"), strings.HasPrefix(key, "results/"):
		default:
			opened, err := bundle.Open(filepath.Join(store, filepath.FromSlash(key)))
			if err != nil {
				t.Fatal(err)
			}
			if report, err := opened.Verify(t.Context(), nil); err != nil || !report.OK {
				t.Fatalf("%s: %+v, %v", key, report, err)
			}
		}
	}
}

// The executor may be killed as well: then the submitter says so, and ends what is left.
func TestExecutorGroupIsEnded(t *testing.T) {
	b := newBed(t)
	note := filepath.Join(t.TempDir(), "pid")
	run := b.run(t, command(sh(`sleep 600 & echo $! >"$1"; kill -KILL $PPID; wait`, note)...))
	if run.State.Type != orchestrator.TypeCrashed || run.ExitCode != 128+int(syscall.SIGKILL) {
		t.Errorf("code %d, %+v", run.ExitCode, run.State)
	}
	pid := pidIn(t, note)
	until(t, "the command's child is gone", func() bool { return gone(pid) })
}
