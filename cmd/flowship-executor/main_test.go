//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
	"github.com/flowship/flowship/submit/execute"
)

// newBundle builds a bundle that prints a file, in a folder that is a store.
func newBundle(t *testing.T) (dir string, b *bundle.Bundle) {
	t.Helper()
	return newBundleOf(t, "sh", "-c", "cat f; exit 7")
}

func newBundleOf(t *testing.T, command ...string) (dir string, b *bundle.Bundle) {
	t.Helper()
	from, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(from, "f"), []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := bundle.Collect(t.Context(), from, []string{"f"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	inv := bundle.Invocation{Runtime: bundle.RuntimeExec, Command: command}
	if _, err := bundle.Build(t.Context(), c, inv, dir, nil); err != nil {
		t.Fatal(err)
	}
	if b, err = bundle.Open(dir); err != nil {
		t.Fatal(err)
	}
	return dir, b
}

func TestRun(t *testing.T) {
	dir, b := newBundle(t)
	other := t.TempDir()
	step := func(url, key, digest string, more ...string) []string {
		return append([]string{"step", "execute", "--url", url, "--key=" + key, "--digest", digest}, more...)
	}
	wrong := "sha256:" + strings.Repeat("a", 64)
	for _, test := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
		records        string // where the run's record must be; "" for nowhere
	}{
		{"runs", step("file://"+dir, "bundle.json", b.Digest.String()), 7, "content\n", "", dir},
		{"record elsewhere", step("file://"+dir, "bundle.json", b.Digest.String(), "--result-url", "file://"+other), 7, "content\n", "", other},
		{"another digest", step("file://"+dir, "bundle.json", wrong), 3, "", "error: execute: ", ""},
		{"not there", step("file://"+dir, "nothing", wrong), 4, "", "not found", ""},
		{"no driver", step("s3://bucket", "bundle.json", wrong), 5, "", `opens no "s3://"`, ""},
		{"no registry answers", step("oci://127.0.0.1:1/r:t", "", b.Digest.String()), 5, "", "not available", ""},
		{"no digest", step("file://"+dir, "bundle.json", ""), 2, "", "missing --digest", ""},
		{"no digest's form", step("file://"+dir, "bundle.json", "sha256:1"), 2, "", `"sha256:1"`, ""},
		{"unknown flag", step("file://"+dir, "bundle.json", wrong, "--nothing"), 2, "", "-nothing", ""},
		{"an argument", step("file://"+dir, "bundle.json", wrong, "more"), 2, "", `unexpected argument "more"`, ""},
		{"nothing", nil, 2, "", "usage: ", ""},
		{"another command", []string{"-m", "prefect_aws.bundles.execute"}, 2, "", "usage: ", ""},
		{"help", []string{"step", "execute", "--help"}, 0, "usage: ", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			os.RemoveAll(filepath.Join(dir, "results"))
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), test.args, &stdout, &stderr)
			if code != test.code || !strings.HasPrefix(stdout.String(), test.stdout) || !strings.Contains(stderr.String(), test.stderr) || test.stdout == "" && stdout.Len() > 0 {
				t.Errorf("code %d, want %d\nstdout: %s\nstderr: %s", code, test.code, &stdout, &stderr)
			}
			if test.records == "" {
				return
			}
			text, err := os.ReadFile(filepath.Join(test.records, filepath.FromSlash(execute.RecordKey(b.Document.FlowRunID()))))
			if err != nil || !strings.Contains(string(text), `"FAILED"`) {
				t.Errorf("record %s, %v", text, err)
			}
		})
	}
}

// TestUntold runs a program that is not there: nobody else says so.
func TestUntold(t *testing.T) {
	dir, b := newBundleOf(t, "nosuchprogram")
	t.Chdir(t.TempDir())
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"step", "execute", "--url", "file://" + dir, "--key", "bundle.json", "--digest", b.Digest.String()}, &stdout, &stderr)
	if want := "error: the command \"nosuchprogram\" was not found\n"; code != 127 || stderr.String() != want {
		t.Errorf("code %d, stderr %q, want 127, %q", code, &stderr, want)
	}
}

// TestNoTemporaryDirectory runs a bundle where an image has nothing but the program.
func TestNoTemporaryDirectory(t *testing.T) {
	dir, b := newBundle(t)
	t.Chdir(t.TempDir())
	t.Setenv("TMPDIR", "/nowhere/at/all")
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"step", "execute", "--url", "file://" + dir, "--key", "bundle.json", "--digest", b.Digest.String()}, &stdout, &stderr)
	if code != 7 || stdout.String() != "content\n" {
		t.Errorf("code %d\nstdout: %s\nstderr: %s", code, &stdout, &stderr)
	}
	left, err := filepath.Glob("*")
	if diff := cmp.Diff([]string{"f"}, left); diff != "" || err != nil {
		t.Errorf("left behind (-want +got): %s, %v", diff, err)
	}
}

// TestSigned runs a bundle with nothing but signed URLs.
func TestSigned(t *testing.T) {
	dir, b := newBundle(t)
	files, put := http.FileServer(http.Dir(dir)), false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if put = put || r.Method == http.MethodPut; r.Method != http.MethodPut {
			files.ServeHTTP(w, r)
		}
	}))
	defer s.Close()
	record := execute.RecordKey(b.Document.FlowRunID())
	text, err := json.Marshal(&execute.Signed{
		Get: map[string]string{"bundle.json": s.URL + "/bundle.json", b.Document.FilesKey: s.URL + "/" + b.Document.FilesKey},
		Put: map[string]string{record: s.URL + "/" + record},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(execute.EnvSigned, string(text))
	t.Chdir(t.TempDir())
	var stdout, stderr bytes.Buffer
	args := []string{"step", "execute", "--url", "s3://not-asked", "--key", "bundle.json", "--digest", b.Digest.String()}
	if code := run(t.Context(), args, &stdout, &stderr); code != 7 || stdout.String() != "content\n" || !put {
		t.Errorf("code %d, put %v\nstdout: %s\nstderr: %s", code, put, &stdout, &stderr)
	}
	t.Setenv(execute.EnvSigned, "S3CRET")
	stderr.Reset()
	if code := run(t.Context(), args, &stdout, &stderr); code != 5 || stderr.Len() == 0 || strings.Contains(stderr.String(), "S3CRET") {
		t.Errorf("code %d: %s", code, &stderr)
	}
}

// TestRegistry runs a bundle of a container registry. Its record has a place where one is named.
func TestRegistry(t *testing.T) {
	dir, b := newBundle(t)
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	pushed, err := oci.Push(t.Context(), dir, "oci://"+host+"/acme/train:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	records := t.TempDir()
	digest, wrong := b.Digest.String(), "sha256:"+strings.Repeat("a", 64)
	for _, test := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"by tag", []string{"--url", pushed.URL, "--digest", digest}, 7, "content\n", ""},
		{"by digest, with a record", []string{"--url", pushed.Ref, "--digest", digest, "--result-url", "file://" + records}, 7, "content\n", ""},
		{"another digest", []string{"--url", pushed.URL, "--digest", wrong}, 3, "", "is not the one that was submitted"},
		{"not there", []string{"--url", "oci://" + host + "/acme/train:2", "--digest", digest}, 4, "", "not found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append([]string{"step", "execute"}, test.args...), &stdout, &stderr)
			if code != test.code || stdout.String() != test.stdout || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("code %d, want %d\nstdout: %s\nstderr: %s", code, test.code, &stdout, &stderr)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(records, filepath.FromSlash(execute.RecordKey(b.Document.FlowRunID())))); err != nil {
		t.Error(err)
	}
}
