// Command bench times the three ways to run something, and a worker, on the embedded backend.
//
//	go run ./cmd/testbed -servers prefect,s3 go run ./submit/bench
//
// Whole processes count, from start to exit, of a command that does nothing. For Prefect it is a flow that does nothing, called on a
// process work pool of a server that is already up. Every figure of a single call is the median of -rounds. The worker's is the rate at
// which one with --limit 16 finishes -runs queued runs; that each ran once and completed is checked. An idle worker is watched for -idle.
// Last comes the upload of a small document to S3, by Prefect's module in Python and by flowship in its place. Then a flow in Python goes to
// a work pool of the server with its bundle on S3: how long the submission of one with 1,500 files takes, by Prefect's client and by flowship;
// and how long a trivial one takes from its submission to its result, all with Prefect, with flowship's client and worker, and with
// flowship's executor as well. -only measures one of single, prefect, worker, idle, module, submission and flow; or containers, which only is
// measured when it is asked for:
//
//	go run ./cmd/testbed -servers docker,registry,kubernetes,s3 go run ./submit/bench -only containers
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

//go:embed prefect_run.py
var prefectRun string

//go:embed prefect_submit.py
var prefectSubmit string

type options struct {
	rounds, runs int
	idle         time.Duration
	python, api  string
	only         string
}

func main() {
	o := options{python: os.Getenv("FLOWSHIP_TEST_PYTHON"), api: os.Getenv("FLOWSHIP_TEST_PREFECT_API")}
	flag.IntVar(&o.rounds, "rounds", 21, "how often each single call is made")
	flag.IntVar(&o.runs, "runs", 1000, "how many runs the worker gets")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long the idle worker is watched")
	flag.StringVar(&o.only, "only", "", "measure only this")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "flowship-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := bench{options: o, dir: dir, flowship: filepath.Join(dir, "flowship")}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.flowship, "./cmd/flowship")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/flowship: %w\n%s", err, out)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, m := range []struct {
		name    string
		measure func(context.Context, io.Writer) error
	}{{"single", b.single}, {"prefect", b.prefect}, {"worker", b.worker}, {"idle", b.idleWorker}, {"module", b.module}, {"submission", b.submission}, {"flow", b.flow}, {"containers", b.containers}} {
		if o.only != m.name && (o.only != "" || m.name == "containers") {
			continue
		}
		err := m.measure(ctx, w)
		w.Flush()
		if err != nil {
			return err
		}
	}
	return nil
}

// bench is what all measurements share.
type bench struct {
	options
	dir, flowship string
	direct        time.Duration // of a direct call
}

func (b *bench) command(ctx context.Context, home string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.flowship, args...)
	cmd.Env = append(os.Environ(), "FLOWSHIP_HOME="+filepath.Join(b.dir, home))
	return cmd
}

// single times single calls.
func (b *bench) single(ctx context.Context, w io.Writer) error {
	for _, way := range []string{"run", "submit", "submit-to-work-pool"} {
		median, err := b.median(func() error { return b.command(ctx, "single", way, "--", "true").Run() })
		if err != nil {
			return fmt.Errorf("%s: %w", way, err)
		}
		if way == "run" {
			b.direct = median
		}
		fmt.Fprintf(w, "%s -- true\t%v\n", way, median.Round(100*time.Microsecond))
	}
	return nil
}

func (b *bench) median(do func() error) (time.Duration, error) {
	var took []time.Duration
	for range b.rounds + 1 { // the first one warms up
		begin := time.Now()
		if err := do(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(begin))
	}
	took = took[1:]
	slices.Sort(took)
	return took[len(took)/2], nil
}

// prefect times Prefect's own direct call.
func (b *bench) prefect(ctx context.Context, w io.Writer) error {
	if b.python == "" || b.api == "" {
		fmt.Fprintf(w, "Prefect\tnot there\n")
		return nil
	}
	script := filepath.Join(b.dir, "prefect_run.py")
	if err := os.WriteFile(script, []byte(prefectRun), 0o600); err != nil {
		return err
	}
	var best time.Duration
	for range 4 { // the first one makes the work pool
		cmd := exec.CommandContext(ctx, b.python, script)
		cmd.Env = append(os.Environ(), "PREFECT_API_URL="+b.api, "PREFECT_HOME="+filepath.Join(b.dir, "prefect"), "PREFECT_LOGGING_LEVEL=ERROR", "DO_NOT_TRACK=1",
			"VIRTUAL_ENV="+filepath.Dir(filepath.Dir(b.python))) // in which Prefect makes sure of the flow's packages
		begin := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("prefect: %w\n%s", err, out)
		}
		if took := time.Since(begin); best == 0 || took < best {
			best = took
		}
	}
	ratio := ""
	if b.direct > 0 {
		ratio = fmt.Sprintf("%.0f times as long as run", best.Seconds()/b.direct.Seconds())
	}
	fmt.Fprintf(w, "Prefect's direct call, best of 4\t%v\t%s\n", best.Round(10*time.Millisecond), ratio)
	return nil
}

// worker times one worker on many queued runs.
func (b *bench) worker(ctx context.Context, w io.Writer) error {
	ran := filepath.Join(b.dir, "ran")
	begin := time.Now()
	for range b.runs {
		if err := b.command(ctx, "worker", "submit-to-work-pool", "--", "sh", "-c", "echo $FLOWSHIP_FLOW_RUN_ID >>"+ran).Run(); err != nil {
			return err
		}
	}
	queued := time.Since(begin)
	begin = time.Now()
	cmd := b.command(ctx, "worker", "worker", "start", "--pool", "local", "--limit", "16")
	if err := cmd.Start(); err != nil {
		return err
	}
	completed := 0
	for completed < b.runs {
		time.Sleep(50 * time.Millisecond)
		text, _ := os.ReadFile(ran)
		completed = strings.Count(string(text), "\n")
		if time.Since(begin) > 10*time.Minute {
			return fmt.Errorf("%d of %d runs in %v", completed, b.runs, time.Since(begin))
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil { // it ends when its runs have
		return err
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	took := time.Since(begin)
	if err := b.checkOnce(ctx, ran); err != nil {
		return err
	}
	rate := float64(b.runs) / took.Seconds()
	fmt.Fprintf(w, "%d runs queued\t%.1f/s\n", b.runs, float64(b.runs)/queued.Seconds())
	fmt.Fprintf(w, "worker --limit 16, %d runs\t%v\t%.1f/s\n", b.runs, took.Round(10*time.Millisecond), rate)
	return nil
}

// checkOnce checks that every run completed and ran once.
func (b *bench) checkOnce(ctx context.Context, ran string) error {
	text, err := os.ReadFile(ran)
	if err != nil {
		return err
	}
	times := map[string]int{}
	for _, id := range strings.Fields(string(text)) {
		times[id]++
	}
	out, err := b.command(ctx, "worker", "flow-run", "ls", "--limit", strconv.Itoa(b.runs+1), "-o", "json").Output()
	if err != nil {
		return err
	}
	var runs []struct {
		ID    string
		State struct{ Type string }
	}
	if err := json.Unmarshal(out, &runs); err != nil {
		return err
	}
	if len(runs) != b.runs {
		return fmt.Errorf("%d runs are known of %d", len(runs), b.runs)
	}
	for _, r := range runs {
		if r.State.Type != "COMPLETED" || times[r.ID] != 1 {
			return fmt.Errorf("run %s is %s and ran %d times", r.ID, r.State.Type, times[r.ID])
		}
	}
	return nil
}

// idleWorker watches a worker that has nothing to do.
func (b *bench) idleWorker(ctx context.Context, w io.Writer) error {
	cmd := b.command(ctx, "idle", "worker", "start", "--pool", "local")
	if err := cmd.Start(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(b.idle):
	}
	memory := peak(cmd.Process.Pid)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	fmt.Fprintf(w, "idle worker, %v\t%.2f %% of a core\t%s\n", b.idle, 100*cpu.Seconds()/b.idle.Seconds(), memory)
	return nil
}

// peak returns the most memory that the process had, as Linux says it.
func peak(pid int) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "memory not known"
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			return fmt.Sprintf("%d MiB", kib>>10)
		}
	}
	return "memory not known"
}
