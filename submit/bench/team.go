package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// team is a Prefect server with work pools that keep bundles in S3, whose credentials are a block.
type team struct {
	*bench
	dir    string // of the flow and its files
	bucket string
	block  string // with the credentials
	env    []string
}

const countFlow = `from pathlib import Path

from prefect import flow


@flow
def count() -> int:
    return len(list(Path("data").iterdir()))
`

// newTeam returns nil where there is no server.
func (b *bench) newTeam(ctx context.Context) (*team, error) {
	address, err := url.Parse(os.Getenv("FLOWSHIP_TEST_S3"))
	if err != nil || address.Host == "" || b.python == "" || b.api == "" {
		return nil, err
	}
	t := &team{bench: b, dir: filepath.Join(b.dir, "team"), bucket: address.Host, block: "bench-" + uuid.NewString()}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "AWS_") && !strings.HasPrefix(e, "PREFECT_") { // credentials come from the block
			t.env = append(t.env, e)
		}
	}
	t.env = append(t.env, "PREFECT_API_URL="+b.api, "PREFECT_HOME="+filepath.Join(b.dir, "prefect"), "FLOWSHIP_HOME="+filepath.Join(b.dir, "team-home"), "FLOWSHIP_PYTHON="+b.python,
		"PREFECT_LOGGING_LEVEL=ERROR", "PREFECT_WORKER_QUERY_SECONDS=1", "DO_NOT_TRACK=1", "PATH="+b.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	if err := os.MkdirAll(filepath.Join(t.dir, "data"), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(t.dir, "flow.py"), []byte(countFlow), 0o600); err != nil {
		return nil, err
	}
	fields, err := json.Marshal(map[string]any{
		"aws_access_key_id": os.Getenv("AWS_ACCESS_KEY_ID"), "aws_secret_access_key": os.Getenv("AWS_SECRET_ACCESS_KEY"), "region_name": "us-east-1",
		"aws_client_parameters": map[string]any{"endpoint_url": address.Query().Get("endpoint")},
	})
	if err != nil {
		return nil, err
	}
	script, err := filepath.Abs("testdata/flows/stock/blocks.py")
	if err != nil {
		return nil, err
	}
	_, err = t.run(ctx, bytes.NewReader(fields), b.python, script, "s3", t.block)
	return t, err
}

// run runs a program in the flow's directory, and returns what it prints.
func (t *team) run(ctx context.Context, in io.Reader, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdin = t.dir, t.env, in
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}

// pool makes a work pool whose steps begin with the launcher.
func (t *team) pool(ctx context.Context, name string, launcher ...string) error {
	if _, err := t.run(ctx, nil, t.flowship, "work-pool", "create", name, "--type", "process", "--overwrite"); err != nil {
		return err
	}
	args := []string{t.flowship, "work-pool", "storage", "configure", "s3", name, "--bucket", t.bucket, "--aws-credentials-block-name", t.block}
	for _, word := range launcher {
		args = append(args, "--launcher", word)
	}
	_, err := t.run(ctx, nil, args...)
	return err
}

// files has the flow include so many, of which one is new.
func (t *team) files(n, round int) error {
	for i := range n {
		name, text := filepath.Join(t.dir, "data", fmt.Sprintf("%04d.txt", i)), fmt.Sprintf("file %d\n%s", i, strings.Repeat("some text ", 200))
		if i == 0 {
			text += fmt.Sprint(round)
		} else if round > 0 {
			return nil
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// submission times the submission of a flow with 1,500 files to a work pool.
func (b *bench) submission(ctx context.Context, w io.Writer) error {
	t, err := b.newTeam(ctx)
	if err != nil || t == nil {
		fmt.Fprintf(w, "submission to Prefect\tnot there\n")
		return err
	}
	if err := errors.Join(t.pool(ctx, "bench-submission", b.python), t.files(1500, 0)); err != nil {
		return err
	}
	script := filepath.Join(b.dir, "prefect_submit.py")
	if err := os.WriteFile(script, []byte(prefectSubmit), 0o600); err != nil {
		return err
	}
	stock := []string{b.python, script, "bench-submission", b.python, "data/"}
	ours := []string{b.flowship, "submit-to-work-pool", "--pool", "bench-submission", "flow.py:count", "--include", "data/"}
	took := map[string][]time.Duration{}
	round := 0
	measure := func(name string, argv []string, changed bool) error {
		round++
		if changed {
			if err := t.files(1500, round); err != nil {
				return err
			}
		}
		begin := time.Now()
		_, err := t.run(ctx, nil, argv...)
		took[name] = append(took[name], time.Since(begin))
		return err
	}
	const rounds = 5
	for range rounds {
		for range 2 {
			err = errors.Join(err, measure("flowship, a file is new", ours, true), measure("flowship, the same files", ours, false))
		}
		err = errors.Join(err, measure("Prefect, a file is new", stock, true), measure("Prefect, the same files", stock, false))
		if err != nil {
			return err
		}
	}
	for _, what := range []string{"a file is new", "the same files"} {
		slow, fast := median(took["Prefect, "+what]), median(took["flowship, "+what])
		fmt.Fprintf(w, "Prefect's client submits a flow with 1500 files, %s\t%v\t\n", what, slow.Round(10*time.Millisecond))
		fmt.Fprintf(w, "flowship submit-to-work-pool\t%v\t%.1f times as fast\n", fast.Round(time.Millisecond), slow.Seconds()/fast.Seconds())
	}
	return nil
}

func median(took []time.Duration) time.Duration {
	took = slices.Sorted(slices.Values(took))
	return took[len(took)/2]
}

// flow times a trivial flow in Python from its submission to its result.
func (b *bench) flow(ctx context.Context, w io.Writer) error {
	t, err := b.newTeam(ctx)
	if err != nil || t == nil {
		fmt.Fprintf(w, "a flow on Prefect\tnot there\n")
		return err
	}
	if err := t.files(1, 0); err != nil {
		return err
	}
	script := filepath.Join(b.dir, "prefect_submit.py")
	if err := os.WriteFile(script, []byte(prefectSubmit), 0o600); err != nil {
		return err
	}
	var stock time.Duration
	for _, way := range []struct {
		name     string
		pool     string
		launcher string
		worker   []string
		submit   func(ctx context.Context, pool string) (id string, err error)
	}{
		{"Prefect's client, worker and executor", "bench-stock", b.python, []string{b.python, "-m", "prefect", "worker", "start", "--type", "process"}, func(ctx context.Context, pool string) (string, error) {
			out, err := t.run(ctx, nil, b.python, script, pool, b.python, "data/", "wait")
			id, _, _ := strings.Cut(out, "\n")
			return id, err
		}},
		{"flowship's client and worker, Prefect's executor", "bench-python", b.python, []string{b.flowship, "worker", "start"}, t.submit},
		{"flowship's client, worker and executor", "bench-flowship", b.flowship, []string{b.flowship, "worker", "start"}, t.submit},
	} {
		median, phases, err := t.wayOfFlow(ctx, way.pool, way.launcher, way.worker, way.submit)
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		if stock == 0 {
			stock = median
		}
		fmt.Fprintf(w, "%s\t%v\t%.2f of Prefect's\t%s\n", way.name, median.Round(10*time.Millisecond), median.Seconds()/stock.Seconds(), phases)
	}
	return nil
}

func (t *team) submit(ctx context.Context, pool string) (string, error) {
	id, err := t.run(ctx, nil, t.flowship, "submit-to-work-pool", "--pool", pool, "flow.py:count", "--include", "data/")
	if err == nil {
		_, err = t.run(ctx, nil, t.flowship, "flow-run", "wait", id)
	}
	if err == nil {
		_, err = t.run(ctx, nil, t.flowship, "flow-run", "result", id)
	}
	return id, err
}

// wayOfFlow returns how long a run takes with its result, and where the time went.
func (t *team) wayOfFlow(ctx context.Context, pool, launcher string, worker []string, submit func(context.Context, string) (string, error)) (time.Duration, string, error) {
	if err := t.pool(ctx, pool, launcher); err != nil {
		return 0, "", err
	}
	work := exec.CommandContext(ctx, worker[0], append(worker[1:], "--pool", pool, "--name", pool)...)
	work.Dir, work.Env = t.dir, t.env
	work.Cancel = func() error { return work.Process.Signal(os.Interrupt) }
	work.WaitDelay = 30 * time.Second
	ctx, stop := context.WithCancel(ctx)
	if err := work.Start(); err != nil {
		stop()
		return 0, "", err
	}
	defer func() {
		stop()
		work.Process.Signal(os.Interrupt)
		work.Wait()
	}()
	var took []time.Duration
	var all [][]time.Duration
	const rounds = 3
	for range rounds + 1 { // the first one waits for the worker
		begin := time.Now()
		id, err := submit(ctx, pool)
		if err != nil {
			return 0, "", err
		}
		end := time.Now()
		phases, err := t.phases(ctx, id, begin, end)
		if err != nil {
			return 0, "", err
		}
		took, all = append(took, end.Sub(begin)), append(all, phases)
	}
	took, all = took[1:], all[1:]
	var text []string
	for i, name := range []string{"submit", "pick-up", "launch", "run", "result"} {
		var of []time.Duration
		for _, phases := range all {
			of = append(of, phases[i])
		}
		text = append(text, fmt.Sprintf("%s %.2f", name, median(of).Seconds()))
	}
	return median(took), strings.Join(text, ", "), nil
}

// phases are those until the run is SCHEDULED, PENDING for a worker, RUNNING and final, and until
// its result is there.
func (t *team) phases(ctx context.Context, id string, begin, end time.Time) ([]time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.api+"/flow_run_states/?flow_run_id="+id, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var states []struct {
		Type      string
		Timestamp time.Time
	}
	if err := json.NewDecoder(resp.Body).Decode(&states); err != nil {
		return nil, err
	}
	var moments []time.Time
	for _, want := range []string{"SCHEDULED", "PENDING", "RUNNING", "COMPLETED"} {
		for len(states) > 0 && states[0].Type != want {
			states = states[1:]
		}
		if len(states) == 0 {
			return nil, fmt.Errorf("run %s was never %s", id, want)
		}
		moments = append(moments, states[0].Timestamp)
	}
	var phases []time.Duration
	for _, m := range append(moments, end) {
		phases = append(phases, m.Sub(begin))
		begin = m
	}
	return phases, nil
}
