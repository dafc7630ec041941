package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// yard is where containers run: a Docker engine, a cluster, a registry and an object store.
type yard struct {
	*bench
	env   []string
	image string // with the executor, in the registry
	rows  [][]string
}

// base is what testbed's engine has.
const base = "flowship-test:busybox"

// containers times whole commands on Docker and on Kubernetes against what their own commands, or
// requests like kubectl's, take for the same, by turns; and the making of images. It prints a table
// in Markdown.
func (b *bench) containers(ctx context.Context, w io.Writer) error {
	y := &yard{bench: b}
	if err := y.prepare(ctx); err != nil {
		return err
	}
	defer y.print(w)
	for _, m := range []struct {
		needs   string
		measure func(context.Context) error
	}{{"FLOWSHIP_TEST_DOCKER", y.docker}, {"FLOWSHIP_TEST_KUBECONFIG", y.kubernetes}, {"", y.images}} {
		if m.needs != "" && os.Getenv(m.needs) == "" {
			continue
		}
		if err := m.measure(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (y *yard) print(w io.Writer) {
	fmt.Fprint(w, "| | flowship | without | |\n|---|---|---|---|\n")
	for _, row := range y.rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
}

// prepare makes what all commands find in their environment.
func (y *yard) prepare(ctx context.Context) error {
	y.env = append(os.Environ(), "FLOWSHIP_HOME="+filepath.Join(y.dir, "containers"), "DOCKER_HOST="+os.Getenv("FLOWSHIP_TEST_DOCKER"),
		"KUBECONFIG="+os.Getenv("FLOWSHIP_TEST_KUBECONFIG"))
	if address, err := url.Parse(os.Getenv("FLOWSHIP_TEST_S3")); err == nil && address.Host != "" {
		y.env = append(y.env, "AWS_ENDPOINT_URL_S3="+address.Query().Get("endpoint"), "AWS_DEFAULT_REGION="+address.Query().Get("region"))
	}
	return y.buildExecutor(ctx)
}

func (y *yard) executor() string {
	return filepath.Join(y.dir, "flowship-executor-linux-"+runtime.GOARCH)
}

// buildExecutor puts the small executor beside flowship.
func (y *yard) buildExecutor(ctx context.Context) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", y.executor(), "./cmd/flowship-executor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/flowship-executor: %w\n%s", err, out)
	}
	return nil
}

// command runs a program to its end, which may be any, and returns what it printed.
func (y *yard) command(ctx context.Context, argv ...string) (code int, stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = y.env, y.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		return failed.ExitCode(), out.String(), errs.String(), nil
	}
	return 0, out.String(), errs.String(), err
}

// must is command for what has to succeed.
func (y *yard) must(ctx context.Context, argv ...string) error {
	code, _, stderr, err := y.command(ctx, argv...)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d\n%s", code, stderr)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return nil
}

// pair times two ways by turns, and returns their medians.
func (y *yard) pair(rounds int, ours, theirs func() error) (time.Duration, time.Duration, error) {
	var took [2][]time.Duration
	for round := range rounds + 1 { // the first one warms up
		for i, do := range []func() error{ours, theirs} {
			begin := time.Now()
			if err := do(); err != nil {
				return 0, 0, err
			}
			if round > 0 {
				took[i] = append(took[i], time.Since(begin))
			}
		}
	}
	return median(took[0]), median(took[1]), nil
}

// added notes what a command adds to what would be done without flowship.
func (y *yard) added(what string, ours, theirs time.Duration) {
	y.rows = append(y.rows, []string{what, ms(ours), ms(theirs), fmt.Sprintf("%+d ms", (ours - theirs).Milliseconds())})
}

func (y *yard) alone(what string, took time.Duration, more string) {
	y.rows = append(y.rows, []string{what, ms(took), "", more})
}

func ms(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// docker times direct calls on the engine.
func (y *yard) docker(ctx context.Context) error {
	if err := y.must(ctx, y.flowship, "work-pool", "create", "dock", "--type", "docker"); err != nil {
		return err
	}
	run := []string{y.flowship, "run", "--pool", "dock", "-v", "image=" + base, "-v", "image_pull_policy=Never", "-v", "auto_remove=true", "--"}
	theirs := func() error { return y.must(ctx, "docker", "run", "--rm", base, "true") }
	ours := func() error { return y.must(ctx, append(run, "true")...) }
	took, plain, err := y.pair(y.rounds, ours, theirs)
	if err != nil {
		return err
	}
	y.added("`run --pool dock -- true`, `docker run --rm IMAGE true`", took, plain)
	small := y.executor()
	if err := os.Rename(small, small+".away"); err != nil {
		return err
	}
	took, plain, err = y.pair(y.rounds, ours, theirs)
	if err := errors.Join(err, os.Rename(small+".away", small)); err != nil {
		return err
	}
	y.added("the same, with flowship itself as executor", took, plain)
	late, err := y.late(ctx, y.rounds, run...)
	y.alone("from the end of a container with exit code 7 to that of `run`", late, "")
	return err
}

// late is how long after the end of its container a command ends that fails.
func (y *yard) late(ctx context.Context, rounds int, run ...string) (time.Duration, error) {
	var took []time.Duration
	for range rounds {
		code, stdout, stderr, err := y.command(ctx, append(run, "sh", "-c", "cat /proc/uptime; exit 7")...)
		if err != nil || code != 7 {
			return 0, fmt.Errorf("%s: exit code %d, %w\n%s", strings.Join(run, " "), code, err, stderr)
		}
		// Containers of testbed share the kernel's clock.
		ended, err := uptime(stdout)
		if err != nil {
			return 0, err
		}
		text, err := os.ReadFile("/proc/uptime")
		if err != nil {
			return 0, err
		}
		now, err := uptime(string(text))
		if err != nil {
			return 0, err
		}
		took = append(took, now-ended)
	}
	return median(took), nil
}

func uptime(text string) (time.Duration, error) {
	word, _, _ := strings.Cut(text, " ")
	seconds, err := strconv.ParseFloat(strings.TrimSpace(word), 64)
	return time.Duration(seconds * float64(time.Second)), err
}
