// Command bench times flowship against Prefect's own packing of the same files, in one run, and prints a table.
//
//	go run ./cmd/testbed -servers prefect go run ./bundle/bench
//
// For flowship, whole processes count, from start to exit. For Prefect only what create_bundle_for_flow_run does to the included files
// counts, neither the interpreter's start nor imports. The floor is what any Go program needs to walk a tree, read it and hash it with
// SHA-256, one file after the other. Every figure is the best of -rounds. That both compute the same key is checked on the way.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

//go:embed prefect_loop.py
var prefectLoop string

func main() {
	names := flag.String("trees", "1500,16384,100000,1gib", "the trees to pack, separated by commas")
	rounds := flag.Int("rounds", 3, "how often each program runs; the best time counts")
	python := flag.String("python", os.Getenv("FLOWSHIP_TEST_PYTHON"), "an interpreter that has Prefect; empty leaves Prefect out")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, strings.Split(*names, ","), *rounds, *python); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string, rounds int, python string) (err error) {
	if rounds < 1 {
		return fmt.Errorf("%d rounds measure nothing", rounds)
	}
	var chosen []tree
	for _, name := range names {
		t, err := treeNamed(name)
		if err != nil {
			return err
		}
		chosen = append(chosen, t)
	}
	dir, err := os.MkdirTemp("", "flowship-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	b := bench{dir: dir, rounds: rounds, python: python, flowship: filepath.Join(dir, "flowship")}
	if runtime.GOOS == "windows" {
		b.flowship += ".exe"
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", b.flowship, "./cmd/flowship").CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/flowship: %w\n%s", err, out)
	}
	var results []result
	for _, t := range chosen {
		r, err := b.measure(ctx, t)
		if err != nil {
			return fmt.Errorf("tree %s: %w", t.name, err)
		}
		results = append(results, r)
	}
	return writeTable(os.Stdout, results)
}

// bench is what all measurements share.
type bench struct {
	dir      string
	rounds   int
	python   string
	flowship string
}

// result holds the best times of one tree, and the highest memory use.
type result struct {
	tree                         tree
	bytes                        int64
	prefect, floor               time.Duration // prefect is zero where it was left out
	digest, cached, build        time.Duration
	digestPeak, cachedPeak, peak int64 // bytes of resident memory; zero where the system does not say
	zip, prefectZip              int64 // bytes
}

func (b *bench) measure(ctx context.Context, t tree) (result, error) {
	r := result{tree: t}
	root := filepath.Join(b.dir, "tree-"+t.name)
	defer os.RemoveAll(root)
	progress("making tree %s", t.name)
	var err error
	if r.bytes, err = t.make(root); err != nil {
		return r, err
	}
	made := time.Now()

	progress("reading it")
	r.floor, err = b.best(func() (time.Duration, error) {
		start := time.Now()
		n, err := walkReadHash(root)
		if err == nil && n != r.bytes {
			err = fmt.Errorf("read %d bytes of %d", n, r.bytes)
		}
		return time.Since(start), err
	})
	if err != nil {
		return r, err
	}

	key := ""
	if b.python != "" {
		progress("packing it with Prefect")
		if key, err = b.timePrefect(ctx, root, &r); err != nil {
			return r, err
		}
	}
	agree := func(other string) error {
		if key == "" {
			key = other
		}
		if other != key {
			return fmt.Errorf("the keys differ: %q and %q", key, other)
		}
		return nil
	}

	// A cache rightly distrusts files that changed a moment ago.
	wait := time.NewTimer(time.Until(made.Add(5 * time.Second)))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return r, ctx.Err()
	}

	progress("hashing it with flowship")
	digest := func(home string, peak *int64) (time.Duration, error) {
		elapsed, out, err := b.time(ctx, home, peak, "bundle", "digest", "--dir", root, "--include", ".")
		if err == nil {
			err = agree("files/" + strings.TrimSpace(string(out)) + ".zip")
		}
		return elapsed, err
	}
	r.digest, err = b.best(func() (time.Duration, error) {
		home, err := os.MkdirTemp(b.dir, "home-")
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(home)
		return digest(home, &r.digestPeak)
	})
	if err != nil {
		return r, err
	}

	progress("and again, unchanged")
	home, err := os.MkdirTemp(b.dir, "home-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(home)
	var ignored int64
	if _, err := digest(home, &ignored); err != nil {
		return r, err
	}
	if r.cached, err = b.best(func() (time.Duration, error) { return digest(home, &r.cachedPeak) }); err != nil {
		return r, err
	}

	progress("packing it with flowship")
	r.build, err = b.best(func() (time.Duration, error) { return b.buildOnce(ctx, root, &r, agree) })
	return r, err
}

// buildOnce packs into a fresh directory, with a fresh cache.
func (b *bench) buildOnce(ctx context.Context, root string, r *result, agree func(key string) error) (time.Duration, error) {
	fresh, err := os.MkdirTemp(b.dir, "build-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(fresh)
	out := filepath.Join(fresh, "out")
	elapsed, _, err := b.time(ctx, filepath.Join(fresh, "home"), &r.peak, "bundle", "build", "--dir", root, "--include", ".", "--out", out, "--", "true")
	if err != nil {
		return 0, err
	}
	archives, err := filepath.Glob(filepath.Join(out, "files", "*.zip"))
	if err != nil {
		return 0, err
	}
	if len(archives) != 1 {
		return 0, fmt.Errorf("packed %d archives: %q", len(archives), archives)
	}
	archive, err := os.Stat(archives[0])
	if err != nil {
		return 0, err
	}
	r.zip = archive.Size()
	return elapsed, agree("files/" + archive.Name())
}

// timePrefect runs Prefect's loop in one interpreter and returns its key.
func (b *bench) timePrefect(ctx context.Context, root string, r *result) (string, error) {
	home, err := os.MkdirTemp(b.dir, "home-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(home)
	cmd := exec.CommandContext(ctx, b.python, "-", root, strconv.Itoa(b.rounds))
	cmd.Stdin = strings.NewReader(prefectLoop)
	cmd.Env = append(os.Environ(), "PREFECT_HOME="+home, "TMPDIR="+b.dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", b.python, err)
	}
	var packed struct {
		Rounds []struct{ Seconds float64 }
		Files  int
		Size   int64
		Key    string
	}
	if err := json.Unmarshal(out, &packed); err != nil {
		return "", err
	}
	if packed.Files != r.tree.files || len(packed.Rounds) == 0 {
		return "", fmt.Errorf("packed %d files of %d by Prefect", packed.Files, r.tree.files)
	}
	r.prefectZip = packed.Size
	fastest := packed.Rounds[0].Seconds
	for _, round := range packed.Rounds {
		fastest = min(fastest, round.Seconds)
	}
	r.prefect = time.Duration(fastest * float64(time.Second))
	return packed.Key, nil
}

// best is the shortest of all rounds.
func (b *bench) best(once func() (time.Duration, error)) (time.Duration, error) {
	var best time.Duration
	for i := range b.rounds {
		d, err := once()
		if err != nil {
			return 0, err
		}
		if i == 0 || d < best {
			best = d
		}
	}
	return best, nil
}

// time runs flowship once and raises peak to what it needed in memory. Linux counts to a program what its parent had needed when it
// started it; so this one keeps no output, and says in the table what it needed itself.
func (b *bench) time(ctx context.Context, home string, peak *int64, args ...string) (time.Duration, []byte, error) {
	cmd := exec.CommandContext(ctx, b.flowship, args...)
	cmd.Env = append(os.Environ(), "FLOWSHIP_HOME="+home)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &head{&stdout}, &head{&stderr}
	start := time.Now()
	err := cmd.Run()
	elapsed := time.Since(start)
	if err != nil {
		return 0, nil, fmt.Errorf("flowship %s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	*peak = max(*peak, maxResident(cmd.ProcessState))
	return elapsed, stdout.Bytes(), nil
}

// head keeps the beginning of an output.
type head struct{ kept *bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	const most = 16 << 10
	h.kept.Write(p[:min(len(p), most-h.kept.Len())])
	return len(p), nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
