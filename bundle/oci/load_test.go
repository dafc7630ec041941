//go:build unix

package oci_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/flowship/flowship/bundle/oci"
	"github.com/flowship/flowship/cmd/testbed/started"
)

// newEngine listens as a container engine does, and has load answer.
func newEngine(t *testing.T, load http.HandlerFunc) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fs") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(load)
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(dir, "s"))
}

func TestLoad(t *testing.T) {
	img := built(t, &oci.BuildOptions{Base: bases(t)["layout"], Executor: finder(t)})
	file := filepath.Join(t.TempDir(), "sent.tar")
	newEngine(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/images/load" {
			http.NotFound(w, r)
			return
		}
		f, err := os.Create(file)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if _, err := io.Copy(f, r.Body); err != nil {
			t.Error(err)
		}
		fmt.Fprintln(w, `{"stream":"Loaded image: made:1\n"}`)
	})
	if err := img.Load(t.Context(), "made:1", nil); err != nil {
		t.Fatal(err)
	}
	ref := tagOf(t, "made:1")
	got, err := tarball.ImageFromPath(file, &ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(got); err != nil {
		t.Error(err)
	}
}

func TestLoadFails(t *testing.T) {
	img := built(t, &oci.BuildOptions{Base: bases(t)["layout"], Executor: finder(t)})
	for name, test := range map[string]struct {
		load http.HandlerFunc
		is   error
		text string
	}{
		"an error behind success": {func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			io.WriteString(w, `{"stream":"x"}{"errorDetail":{"message":"no\nspace"},"error":"no\nspace"}`)
		}, nil, "no space"},
		"a status": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"message":"not you"}`)
		}, oci.ErrUnauthorized, "not you"},
		"it hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, oci.ErrUnavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			newEngine(t, test.load)
			err := img.Load(t.Context(), "made:1", nil)
			if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%v, want %v, %q", err, test.is, test.text)
			}
		})
	}
	t.Setenv("DOCKER_HOST", "unix:///no/such/socket")
	if err := img.Load(t.Context(), "made:1", nil); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("nobody there: %v", err)
	}
	t.Setenv("DOCKER_HOST", "ssh://host")
	var invalid *oci.InvalidError
	if err := img.Load(t.Context(), "made:1", nil); !errors.As(err, &invalid) {
		t.Errorf("another way to reach it: %v", err)
	}
}

// TestDocker runs an image that holds nothing but the executor and a bundle.
func TestDocker(t *testing.T) {
	t.Setenv("DOCKER_HOST", started.Server(t, "docker", "FLOWSHIP_TEST_DOCKER"))
	started.Program(t, "docker")
	executor := filepath.Join(t.TempDir(), "executor")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", executor, "../../cmd/flowship-executor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	// The only program there is the executor, so it is what the bundle runs.
	b := newCommand(t, "/usr/local/bin/flowship", "--help")
	find := (&oci.Executors{Given: []string{executor}}).Find
	img := built(t, &oci.BuildOptions{Base: oci.Scratch, Bundle: b, Executor: find})
	name := "flowship-test-" + strings.ToLower(filepath.Base(filepath.Dir(executor))) + ":1"
	if err := img.Load(t.Context(), name, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { exec.Command("docker", "image", "rm", "-f", name).Run() })
	for _, user := range []string{"0", "1234"} {
		out, err := exec.Command("docker", "run", "--rm", "--network", "none", "--user", user, name).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "usage: flowship-executor step execute") {
			t.Errorf("as user %s: %v: %s", user, err, out)
		}
	}
}
