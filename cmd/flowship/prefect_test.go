//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// stock is an unmodified Prefect with a home of its own, of the server that all tests share.
type stock struct {
	python, api string
	env         []string
	launcher    string // flowship
	tmp         string // the temporary directory of all that is run
}

// server returns what the testbed says, or skips the test.
func server(t *testing.T, name, variable string) string {
	t.Helper()
	if value := os.Getenv(variable); value != "" {
		return value
	}
	if os.Getenv("FLOWSHIP_TEST_REQUIRED") != "" || slices.Contains(strings.Split(os.Getenv("FLOWSHIP_TEST_SERVERS"), ","), name) {
		t.Fatalf("%s is not set", variable)
	}
	t.Skipf("needs %s", variable)
	return ""
}

func newStock(t *testing.T, extra ...string) *stock {
	s := &stock{python: server(t, "prefect", "FLOWSHIP_TEST_PYTHON"), api: server(t, "prefect", "FLOWSHIP_TEST_PREFECT_API"), tmp: t.TempDir()}
	var err error
	if s.launcher, err = exec.LookPath("flowship"); err != nil {
		t.Fatal(err)
	}
	for _, e := range os.Environ() {
		// Nothing of the testbed's own clouds: credentials shall come from the block.
		name, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, "PREFECT_") && !strings.HasPrefix(name, "AWS_") && !strings.HasPrefix(name, "AZURE_") && name != "STORAGE_EMULATOR_HOST" {
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

// work starts a worker of the pool, and returns what it says once it has been stopped.
func (s *stock) work(t *testing.T, pool string) (stop func() string) {
	t.Helper()
	var log bytes.Buffer
	cmd := s.command(context.WithoutCancel(t.Context()), "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process", "--name", pool)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &log, &log, t.TempDir()
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
	stopped := false
	stop = func() string {
		if stopped {
			return log.String()
		}
		stopped = true
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		return log.String()
	}
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
	req, err := http.NewRequestWithContext(ctx, method, s.api+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, got)
	}
	return got, err
}

// object is a store of the testbed with what Prefect needs to know of it.
type object struct {
	kind   string // as "prefect work-pool storage configure" calls it
	fields map[string]any
	flags  []string
	env    []string
	secret string
}

func stores(t *testing.T) map[string]func() object {
	return map[string]func() object{
		"s3": func() object {
			u, err := url.Parse(server(t, "s3", "FLOWSHIP_TEST_S3"))
			if err != nil {
				t.Fatal(err)
			}
			secret := os.Getenv("AWS_SECRET_ACCESS_KEY")
			return object{kind: "s3", secret: secret, flags: []string{"--bucket", u.Host, "--aws-credentials-block-name"}, fields: map[string]any{
				"aws_access_key_id": os.Getenv("AWS_ACCESS_KEY_ID"), "aws_secret_access_key": secret, "region_name": "us-east-1",
				"aws_client_parameters": map[string]any{"endpoint_url": u.Query().Get("endpoint")},
			}}
		},
		"gcs": func() object {
			u, err := url.Parse(server(t, "gcs", "FLOWSHIP_TEST_GCS"))
			if err != nil {
				t.Fatal(err)
			}
			account, secret := serviceAccount(t)
			return object{kind: "gcs", secret: secret, flags: []string{"--bucket", u.Host, "--gcp-credentials-block-name"},
				fields: map[string]any{"service_account_info": account}, env: []string{"STORAGE_EMULATOR_HOST=http://" + os.Getenv("STORAGE_EMULATOR_HOST")}}
		},
		"azure": func() object {
			u, err := url.Parse(server(t, "azure", "FLOWSHIP_TEST_AZURE"))
			if err != nil {
				t.Fatal(err)
			}
			account, secret := os.Getenv("AZURE_STORAGE_ACCOUNT"), os.Getenv("AZURE_STORAGE_KEY")
			text := fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%s;AccountKey=%s;BlobEndpoint=http://%s/%[1]s;", account, secret, u.Query().Get("domain"))
			return object{kind: "azure-blob-storage", secret: secret, flags: []string{"--container", u.Host, "--azure-blob-storage-credentials-block-name"},
				fields: map[string]any{"connection_string": text}}
		},
	}
}

// serviceAccount makes an account up, with a server that gives it tokens.
func serviceAccount(t *testing.T) (account map[string]any, secret string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}`)
	}))
	t.Cleanup(tokens.Close)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return map[string]any{
		"type": "service_account", "project_id": "test", "private_key_id": "1", "private_key": text,
		"client_email": "t@test.iam.gserviceaccount.com", "client_id": "1", "token_uri": tokens.URL,
	}, strings.Split(text, "\n")[1]
}

// TestStockPrefect submits a flow with Prefect's own client to a work pool whose storage
// Prefect's own command configured, has Prefect's own worker run it, and flowship do what both
// would have Python do for the bundle.
func TestStockPrefect(t *testing.T) {
	ok := map[string]any{"sum": 42.0, "script": true}
	for _, test := range []struct {
		store      string
		parameters []string
		cancelled  int // the run that is cancelled; -1 for none
		want       []endedRun
	}{
		{"s3", []string{`{}`, `{"fail": true}`, `{"seconds": 120}`}, 2, []endedRun{
			{Type: "COMPLETED", Result: ok},
			{Type: "FAILED", Message: "Flow run encountered an exception: ValueError: as asked", Result: "ValueError('as asked')"},
			{Type: "CANCELLED", Message: "Flow run was cancelled successfully."},
		}},
		{"gcs", []string{`{}`}, -1, []endedRun{{Type: "COMPLETED", Result: ok}}},
		// The second one finds its files there already, which is where Prefect's own upload fails.
		{"azure", []string{`{}`, `{"seconds": 0.1}`}, -1, []endedRun{{Type: "COMPLETED", Result: ok}, {Type: "COMPLETED", Result: ok}}},
	} {
		t.Run(test.store, func(t *testing.T) {
			t.Parallel()
			store := stores(t)[test.store]()
			s := newStock(t, store.env...)
			pool := "stock-" + test.store + "-" + strings.ToLower(rand.Text()[:8])
			s.run(t, store.fields, "../../testdata/flows/stock/blocks.py", store.kind, pool)
			s.run(t, nil, "-m", "prefect", "work-pool", "create", pool, "--type", "process")
			s.run(t, nil, append(append([]string{"-m", "prefect", "work-pool", "storage", "configure", store.kind, pool}, store.flags...), pool)...)
			stop := s.work(t, pool)
			cancelling := make(chan error, 1)
			got := s.submit(t, pool, func(n int, id string) {
				if n == test.cancelled {
					go func() { cancelling <- s.cancel(t.Context(), id) }()
				}
			}, test.parameters...)
			if test.cancelled >= 0 {
				if err := <-cancelling; err != nil {
					t.Error(err)
				}
			}
			s.wantNothingLeft(t)
			log := stop()
			for i := range got {
				if got[i].Type == "COMPLETED" {
					got[i].Message = ""
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("runs (-want +got):\n%s\n%s", diff, log)
			}
			if strings.Contains(log, store.secret) {
				t.Errorf("the worker's log holds the secret:\n%s", log)
			}
			s.wantClean(t, store.secret)
		})
	}
}

// wantNothingLeft waits until flowship has left nothing behind. A run has ended in the server's
// eyes before its processes have.
func (s *stock) wantNothingLeft(t *testing.T) {
	t.Helper()
	deadline := time.After(20 * time.Second)
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

// TestModuleAmbient uploads and executes on S3 as boto3 would: endpoint and keys come from the
// environment, and no region does. A key that is not accepted is in no message.
func TestModuleAmbient(t *testing.T) {
	u, err := url.Parse(server(t, "s3", "FLOWSHIP_TEST_S3"))
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("flowship")
	if err != nil {
		t.Fatal(err)
	}
	dir, work := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := os.Getenv("AWS_SECRET_ACCESS_KEY")
	flowship := func(dir, secret string, args ...string) (int, string) {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL_S3="+u.Query().Get("endpoint"), "AWS_REGION=", "AWS_DEFAULT_REGION=", "HOME="+t.TempDir(),
			"AWS_SECRET_ACCESS_KEY="+secret, "FLOWSHIP_HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), secret) {
			t.Errorf("%q shows the secret: %s", args, out)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	want := func(code int, text string, got int, out string) {
		t.Helper()
		if got != code || !strings.HasPrefix(out, text) || text == "" && out != "" {
			t.Errorf("code %d, %q; want code %d, %q", got, out, code, text)
		}
	}
	if code, out := flowship(dir, secret, "bundle", "build", "--include", "a.txt", "--out", "dist", "--", "sh", "-c", "cat a.txt; exit 6"); code != 0 {
		t.Fatal(out)
	}
	sidecars, err := filepath.Glob(filepath.Join(dir, "dist", "files", "*.zip"))
	if err != nil || len(sidecars) != 1 {
		t.Fatal(sidecars, err)
	}
	key, bucket := "ambient-"+strings.ToLower(rand.Text()), "--bucket="+u.Host
	upload := func(secret, key, file string) (int, string) {
		return flowship(filepath.Join(dir, "dist"), secret, "-m", "prefect_aws.bundles.upload", bucket, "--key", key, file)
	}
	for key, file := range map[string]string{key: "bundle.json", "files/" + filepath.Base(sidecars[0]): sidecars[0]} {
		for range 2 {
			code, out := upload(secret, key, file)
			want(0, "", code, out)
		}
	}
	code, out := flowship(work, secret, "-m", "prefect_aws.bundles.execute", bucket, "--key", key)
	want(6, "hello\n", code, out)
	code, out = upload("n0t-the-secret", key, "bundle.json")
	want(1, "Failed to upload bundle to S3 (RuntimeError): Failed to upload bundle to S3: ", code, out)
	code, out = flowship(work, secret, "-m", "prefect_aws.bundles.execute", bucket, "--key", "none")
	want(1, "Bundle execution failed (RuntimeError): Failed to download bundle from S3: ", code, out)
}
