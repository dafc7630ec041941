//go:build unix

package submit_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/local"
	"github.com/flowship/flowship/submit/worker"
)

const (
	// executorVariable has the test program be the executor, as the client starts it.
	executorVariable = "FLOWSHIP_TEST_EXECUTOR"
	// submitterVariable has it submit the command that it holds.
	submitterVariable = "FLOWSHIP_TEST_SUBMITTER"
	// workerVariable has it serve the work pool of the home FLOWSHIP_HOME.
	workerVariable = "FLOWSHIP_TEST_WORKER"
)

func TestMain(m *testing.M) {
	if os.Getenv(twinsVariable) != "" {
		twins()
	}
	submit.Main(flows()...)
	switch {
	case os.Getenv(executorVariable) != "" && len(os.Args) > 1 && os.Args[1] == "execute":
		os.Exit(executeStep(os.Args[2:]))
	case os.Getenv(executorVariable) != "" && len(os.Args) == 4 && os.Args[1] == "launch":
		os.Exit(launcher(os.Args[3]))
	case os.Getenv(workerVariable) != "" && len(os.Args) == 1:
		os.Exit(serve())
	case os.Getenv(submitterVariable) != "" && len(os.Args) == 1:
		os.Exit(submitter(os.Getenv(submitterVariable)))
	}
	os.Setenv(executorVariable, "1")
	os.Exit(m.Run())
}

func executeStep(args []string) int {
	step := submit.Step{Grace: 200 * time.Millisecond}
	flags := flag.NewFlagSet("execute", flag.ExitOnError)
	flags.StringVar(&step.URL, "url", "", "")
	flags.StringVar(&step.Key, "key", "", "")
	flags.StringVar(&step.Results, "result-url", "", "")
	digest := flags.String("digest", "", "")
	flags.Parse(args)
	var err error
	if step.Digest, err = bundle.ParseDigest(*digest); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	record, err := submit.Execute(context.Background(), step)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if record == nil {
		return execute.ExitUnavailable
	}
	return record.ExitCode
}

// launcher looks after a run of the home FLOWSHIP_HOME, or of the Prefect server.
func launcher(id string) int {
	ctx := context.Background()
	settings, err := submit.PrefectSettings()
	if err != nil {
		return 1
	}
	c, err := submit.OpenClient(ctx, &submit.ClientOptions{Home: os.Getenv("FLOWSHIP_HOME"), Prefect: settings, Executor: []string{os.Args[0]}, Grace: 200 * time.Millisecond})
	if err == nil {
		err = c.LaunchDetached(ctx, id, os.Stdout)
	}
	if err != nil {
		return 1
	}
	return 0
}

// submitter runs a script in the home FLOWSHIP_HOME.
func submitter(script string) int {
	ctx := context.Background()
	c, err := submit.OpenClient(ctx, &submit.ClientOptions{Home: os.Getenv("FLOWSHIP_HOME"), Executor: []string{os.Args[0]}})
	if err != nil {
		panic(err)
	}
	dir, include := os.Getenv("BASE"), []string{}
	if dir != "" {
		include = []string{"*"}
	}
	inv := submit.Invocation{Dir: dir, Include: include, Command: []string{"sh", "-c", script}, Stdout: os.Stdout, Stderr: os.Stderr}
	if os.Getenv("MODE") == "submit" {
		if _, err := c.Submit(ctx, inv); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 5
		}
		return 0
	}
	run, err := c.Run(ctx, inv)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 5
	}
	return run.ExitCode
}

// serve serves the work pool of the home FLOWSHIP_HOME.
func serve() int {
	ctx := context.Background()
	c, err := submit.OpenClient(ctx, &submit.ClientOptions{Home: os.Getenv("FLOWSHIP_HOME"), Executor: []string{os.Args[0]}, Grace: 200 * time.Millisecond})
	if err == nil {
		err = c.Work(ctx, worker.Options{Limit: 8, Interval: 20 * time.Millisecond, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	}
	fmt.Fprintln(os.Stderr, err)
	return 5
}

type bed struct {
	home   string
	client *submit.Client
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{home: filepath.Join(t.TempDir(), "ho me")}
	b.client = b.open(t)
	return b
}

func (b *bed) open(t *testing.T) *submit.Client {
	t.Helper()
	c, err := submit.OpenClient(t.Context(), &submit.ClientOptions{Home: b.home, Executor: []string{os.Args[0]}, Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (b *bed) run(t *testing.T, cmd submit.Invocation) *submit.Run {
	t.Helper()
	run, err := b.client.Run(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	b.wantTidy(t)
	return run
}

// wantTidy: no working directory, no temporary file is left.
func (b *bed) wantTidy(t *testing.T) {
	t.Helper()
	for _, name := range []string{"run", "tmp"} {
		if entries, err := os.ReadDir(filepath.Join(b.home, name)); err != nil || len(entries) > 0 {
			t.Errorf("%s holds %v (%v)", name, entries, err)
		}
	}
	for _, name := range b.stored(t) {
		if strings.HasSuffix(name, ".tmp") {
			t.Errorf("the store holds %s", name)
		}
	}
}

func (b *bed) stored(t *testing.T) []string {
	t.Helper()
	top := filepath.Join(b.home, "store")
	names := []string{}
	err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(top, path)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

// runs opens the home's flow runs.
func (b *bed) runs(t *testing.T) *local.Orchestrator {
	t.Helper()
	runs, err := local.Open(t.Context(), filepath.Join(b.home, "flowship.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

func (b *bed) states(t *testing.T, id string) []string {
	t.Helper()
	runs := b.runs(t)
	defer runs.Close()
	states, err := runs.States(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, s := range states {
		names = append(names, s.Name)
	}
	return names
}

// lastRun waits for the home's latest run to end.
func (b *bed) lastRun(t *testing.T) *orchestrator.FlowRun {
	t.Helper()
	runs := b.runs(t)
	defer runs.Close()
	var last *orchestrator.FlowRun
	until(t, "the run has ended", func() bool {
		list, err := runs.FlowRuns(t.Context(), orchestrator.Filter{Limit: 1})
		if err != nil || len(list) == 0 {
			t.Fatalf("runs %v, %v", list, err)
		}
		last = list[0]
		return last.State.Type.Final()
	})
	return last
}

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sh(script string, args ...string) []string {
	return append([]string{"sh", "-c", script, "sh"}, args...)
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// gone reports whether the process has ended; a zombie has.
func gone(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(stat), ") Z ") {
		return true
	}
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

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
