//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flowship/flowship/cmd/testbed/started"
)

// stock is an unmodified Prefect with a home of its own, of the server that all tests share.
type stock struct {
	python, api string
	env         []string
	launcher    string // flowship
	tmp         string // the temporary directory of all that is run
}

func newStock(t *testing.T, extra ...string) *stock {
	s := &stock{python: started.Python(t), api: started.Server(t, "prefect", "FLOWSHIP_TEST_PREFECT_API"), tmp: t.TempDir()}
	var err error
	if s.launcher, err = exec.LookPath("flowship"); err != nil {
		t.Fatal(err)
	}
	for _, e := range os.Environ() {
		// Nothing of the testbed's own clouds: credentials shall come from the block. Prefect's bundles take the path of certificates along.
		name, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, "PREFECT_") && !strings.HasPrefix(name, "AWS_") && !strings.HasPrefix(name, "AZURE_") && name != "STORAGE_EMULATOR_HOST" && name != "SSL_CERT_FILE" {
			s.env = append(s.env, e)
		}
	}
	s.env = append(s.env, "PREFECT_API_URL="+s.api, "PREFECT_HOME="+t.TempDir(), "FLOWSHIP_PYTHON="+s.python, "TMPDIR="+s.tmp,
		"PREFECT_WORKER_QUERY_SECONDS=1", "PREFECT_CLI_PROMPT=false", "DO_NOT_TRACK=1", "NO_COLOR=1")
	s.env = append(s.env, extra...)
	return s
}

func (s *stock) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.python, args...)
	cmd.Env = s.env
	return cmd
}

// run runs the interpreter to its end, and returns all that it printed.
func (s *stock) run(t *testing.T, input any, args ...string) []byte {
	t.Helper()
	in, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	cmd := s.command(t.Context(), args...)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// createPool has flowship make a pool of local processes, which is quicker than Prefect's own command.
func (s *stock) createPool(t *testing.T, pool string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), s.launcher, "work-pool", "create", pool, "--type", "process")
	cmd.Env = append(slices.Clip(s.env), "FLOWSHIP_HOME="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("work-pool create: %v\n%s", err, out)
	}
}

// work starts a worker of the pool, and returns what it says once it has been stopped.
func (s *stock) work(t *testing.T, pool string) (stop func() string) {
	t.Helper()
	return s.workOn(t, pool, "process")
}

// workOn starts a worker of the pool's type.
func (s *stock) workOn(t *testing.T, pool, poolType string) (stop func() string) {
	t.Helper()
	var log bytes.Buffer
	cmd := s.command(context.WithoutCancel(t.Context()), "-m", "prefect", "worker", "start", "--pool", pool, "--type", poolType, "--name", pool)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &log, &log, t.TempDir()
	return startWorker(t, cmd, &log, 20*time.Second)
}

// startWorker starts a worker in a process group of its own. Stop asks it to end, insists when it
// takes longer than that, and returns what it has logged; it is called at the latest when the test
// ends.
func startWorker(t *testing.T, cmd *exec.Cmd, log *bytes.Buffer, patience time.Duration) (stop func() string) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait() // it was told to end
	}()
	stop = sync.OnceValue(func() string {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(patience):
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		return log.String()
	})
	t.Cleanup(func() { stop() })
	return stop
}

// endedRun is what stock.py says of a run that has ended.
type endedRun struct {
	Submitted, Ended string
	Type, Message    string
	Result           any
}

// submit submits runs with the client, and returns how they ended. Each is told to begun when it
// is submitted.
func (s *stock) submit(t *testing.T, pool string, begun func(n int, id string), parameters ...string) []endedRun {
	t.Helper()
	dir, err := filepath.Abs("../../testdata/flows/stock")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := s.command(ctx, append([]string{filepath.Join(dir, "stock.py"), pool, s.launcher}, parameters...)...)
	cmd.Dir = t.TempDir()
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []endedRun
	n := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e endedRun
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // what else the client prints
		}
		if e.Submitted != "" {
			if begun != nil {
				begun(n, e.Submitted)
			}
			n++
			continue
		}
		e.Ended = ""
		all = append(all, e)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("stock.py: %v\n%s", err, log.String())
	}
	return all
}

// cancel waits until the run is running, and has it cancelled.
func (s *stock) cancel(ctx context.Context, id string) error {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var run struct {
			Type string `json:"state_type"`
		}
		body, err := s.call(ctx, http.MethodGet, "/flow_runs/"+id, "")
		if err == nil {
			err = json.Unmarshal(body, &run)
		}
		if err == nil && run.Type == "RUNNING" {
			_, err = s.call(ctx, http.MethodPost, "/flow_runs/"+id+"/set_state", `{"state": {"type": "CANCELLING"}, "force": false}`)
			if err == nil {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("run %s is %s: %w", id, run.Type, err)
		}
	}
}

func (s *stock) call(ctx context.Context, method, path, body string) ([]byte, error) {
	return started.Ask(ctx, method, s.api+path, body)
}

// wantNothingLeft waits until flowship has left nothing behind. A run has ended in the server's
// eyes before its processes have.
func (s *stock) wantNothingLeft(t *testing.T) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := filepath.Glob(filepath.Join(s.tmp, "flowship-*"))
		if err == nil && len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("left behind: %v, %v", left, err)
			return
		}
	}
}

// wantClean checks that nobody left the secret behind.
func (s *stock) wantClean(t *testing.T, secret string) {
	t.Helper()
	err := filepath.WalkDir(s.tmp, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !e.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
