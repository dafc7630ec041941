//go:build linux

package submit_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

// script is what the runs do that are killed.
const script = "exec sleep 0.05"

// Submitters, executors and both are killed at random moments, several at a time in one home.
// Whoever looks afterwards sees each run in one final state.
func TestKilledAtRandom(t *testing.T) {
	b := newBed(t)
	const atOnce, wanted = 4, 40
	started := time.Now()
	if err := b.submitter(script).Run(); err != nil {
		t.Fatal(err)
	}
	whole := 2 * b.lookAtLast(t).Ended.Sub(started) // of a run among others
	// Not every submitter comes to the point of recording a run.
	submitted := 0
	for recorded := 0; recorded < wanted && submitted < 8*wanted; {
		var wg sync.WaitGroup
		for range atOnce {
			number := submitted
			submitted++
			wg.Go(func() { b.killOne(t, number, rand.N(whole)) })
		}
		wg.Wait()
		list, err := b.client.FlowRuns(t.Context(), orchestrator.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		recorded = len(list)
	}
	until(t, "no run goes on", func() bool {
		left, err := b.client.FlowRuns(t.Context(), orchestrator.Filter{States: []orchestrator.StateType{"PENDING", "RUNNING", "CANCELLING"}})
		if err != nil {
			t.Fatal(err)
		}
		return len(left) == 0
	})
	list, err := b.client.FlowRuns(t.Context(), orchestrator.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	ends := map[orchestrator.StateType]int{}
	for _, run := range list {
		ends[run.State.Type]++
		final := 0
		names := b.states(t, run.ID)
		for _, name := range names {
			if name != "Pending" && name != "Running" {
				final++
			}
		}
		if final != 1 || !run.State.Type.Final() {
			t.Errorf("%s: states %v", run.Name, names)
		}
	}
	t.Logf("%d submitted, %d recorded; ends %v", submitted, len(list), ends)
	if len(list) < wanted || ends[orchestrator.TypeCrashed] == 0 {
		t.Errorf("%d runs, ends %v", len(list), ends)
	}
}

// killOne submits a run and kills, after the delay, its submitter, its executor or both.
func (b *bed) killOne(t *testing.T, i int, delay time.Duration) {
	cmd := b.submitter(script)
	mark := "FLOWSHIP_TEST_NUMBER=" + strconv.Itoa(i)
	cmd.Env = append(cmd.Env, mark)
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return
	}
	defer cmd.Wait()
	<-time.NewTimer(delay).C
	submitter, executor := i%3 != 0, i%3 != 1
	if submitter {
		// If both are killed, the first one's end must not be told by the other.
		cmd.Process.Signal(syscall.SIGSTOP)
	}
	if executor {
		if pid, found := executorOf(mark); found {
			kill(pid)
		}
	}
	if submitter {
		cmd.Process.Kill()
	}
}

func kill(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		p.Kill()
		p.Release()
	}
}

// executorOf finds the executor in whose environment the mark is.
func executorOf(mark string) (pid int, found bool) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environs {
		env, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(env, []byte("\x00"+mark+"\x00")) || !bytes.Contains(env, []byte("\x00FLOWSHIP_EXECUTES=")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		return pid, err == nil
	}
	return 0, false
}

// Both are killed while the command runs: it ends with them, and so does the run.
func TestBothAreKilled(t *testing.T) {
	b := newBed(t)
	note := filepath.Join(t.TempDir(), "pid")
	cmd := b.submitter(`echo $PPID >` + note + `; exec sleep 600`)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	executor := pidIn(t, note)
	// The executor would tell that its parent is gone, and the submitter that its child is.
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	kill(executor)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	submitter := cmd.Process.Pid
	cmd.Wait()
	until(t, "the executor is gone", func() bool { return gone(executor) })
	run := b.lookAtLast(t)
	want := fmt.Sprintf("nobody looks after the run any more: the submitter (process %d) has ended, the executor (process %d) has ended", submitter, executor)
	if run.State.Type != orchestrator.TypeCrashed || run.State.Message != want {
		t.Errorf("%+v, want CRASHED: %s", run.State, want)
	}
}

// lookAtLast returns the home's latest run as everybody sees it who looks.
func (b *bed) lookAtLast(t *testing.T) *orchestrator.FlowRun {
	t.Helper()
	list, err := b.client.FlowRuns(t.Context(), orchestrator.Filter{Limit: 1})
	if err != nil || len(list) == 0 {
		t.Fatalf("%v, %v", list, err)
	}
	return list[0]
}

// A run that somebody else ends is stopped, by the submitter as well as by the executor.
func TestLeaseIsLost(t *testing.T) {
	b := newBed(t)
	client, err := submit.OpenClient(t.Context(), &submit.ClientOptions{
		Home: b.home, Executor: []string{os.Args[0]}, Grace: 5 * time.Second, Lease: 3 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	note := filepath.Join(t.TempDir(), "pid")
	ended := make(chan string, 1)
	go func() {
		pid := pidIn(t, note)
		runs := b.runs(t)
		defer runs.Close()
		last, err := runs.FlowRuns(t.Context(), orchestrator.Filter{Limit: 1})
		if err != nil || len(last) != 1 {
			t.Errorf("%v, %v", last, err)
			return
		}
		id := last[0].ID
		if _, err := runs.SetState(t.Context(), id, orchestrator.NewState(orchestrator.TypeCrashed, "said somebody"), nil); err != nil {
			t.Error(err)
		}
		until(t, "the command is gone", func() bool { return gone(pid) })
		ended <- id
	}()
	run, err := client.Run(t.Context(), command(sh(`echo $$ >"$1"; exec sleep 600`, note)...))
	if err != nil {
		t.Fatal(err)
	}
	if id := <-ended; run.ID != id || run.State.Type != orchestrator.TypeCrashed || run.State.Message != "said somebody" || run.ExitCode == 0 {
		t.Errorf("code %d, %+v", run.ExitCode, run.State)
	}
	if got := strings.Join(b.states(t, run.ID), " "); got != "Pending Running Crashed" {
		t.Errorf("states %s", got)
	}
	if _, err := os.Stat(filepath.Join(b.home, "store", "results", run.ID+".json")); !os.IsNotExist(err) {
		t.Errorf("a run that was ended by somebody else left a record (%v)", err)
	}
	b.wantTidy(t)
}

// An executor that comes too late runs nothing.
func TestExecutorIsTooLate(t *testing.T) {
	b := newBed(t)
	marker := filepath.Join(t.TempDir(), "ran")
	run := b.run(t, command("touch", marker))
	if err := os.Remove(marker); err != nil {
		t.Fatal(err)
	}
	runs := b.runs(t)
	defer runs.Close()
	stored, err := runs.FlowRun(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "execute", "--url", run.Bundle.URL, "--key", run.Bundle.Key, "--digest", stored.Bundle.Digest)
	cmd.Env = append(os.Environ(), "FLOWSHIP_HOME="+b.home, "FLOWSHIP_STATE="+b.home, "FLOWSHIP_EXECUTES="+run.ID)
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the flow run is not to be run") {
		t.Errorf("%v, %s", err, out)
	}
	if _, err := os.Stat(marker); !os.IsNotExist(err) {
		t.Errorf("the command was run again (%v)", err)
	}
}
