package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRunUsage(t *testing.T) {
	for _, test := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string // stderr: the beginning
	}{
		{"list", []string{"-list"}, 0, "prefect          FLOWSHIP_TEST_PYTHON FLOWSHIP_TEST_PREFECT_API\n" +
			"prefect-secured  FLOWSHIP_TEST_PREFECT_SECURED FLOWSHIP_TEST_PREFECT_AUTH\n" +
			"s3               FLOWSHIP_TEST_S3 AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY\n" +
			"gcs              FLOWSHIP_TEST_GCS STORAGE_EMULATOR_HOST\n" +
			"azure            FLOWSHIP_TEST_AZURE AZURE_STORAGE_ACCOUNT AZURE_STORAGE_KEY\n" +
			"docker           FLOWSHIP_TEST_DOCKER\n" +
			"kubernetes       FLOWSHIP_TEST_KUBECONFIG FLOWSHIP_TEST_KUBERNETES_PID\n" +
			"registry         FLOWSHIP_TEST_REGISTRY\n" +
			"image            FLOWSHIP_TEST_IMAGE\n", ""},
		{"unknown server", []string{"-servers", "prefect,s4", "true"}, 2, "", "testbed: no server is named \"s4\"; see testbed -list\n"},
		{"unknown flag", []string{"-l"}, 2, "", "flag provided but not defined: -l\n"},
		{"no command", nil, 2, "", "usage: testbed "},
		{"help", []string{"-h"}, 0, "", "usage: testbed "},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			if code := run(test.args, &stdout, &stderr); code != test.code {
				t.Errorf("code %d, want %d", code, test.code)
			}
			if diff := cmp.Diff(test.stdout, stdout.String()); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if !strings.HasPrefix(stderr.String(), test.stderr) {
				t.Errorf("stderr %q, want it to begin with %q", stderr.String(), test.stderr)
			}
		})
	}
}

func newPlace(t *testing.T) *place {
	return &place{name: "test", dir: t.TempDir(), cache: t.TempDir(), say: t.Logf}
}

func TestInstalledOnce(t *testing.T) {
	p := newPlace(t)
	var builds atomic.Int32
	build := func(dir string) error {
		builds.Add(1)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "tool"), nil, 0o700)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := p.installed(t.Context(), "key", build)
			if err != nil {
				t.Error(err)
			} else if _, err := os.Stat(filepath.Join(dir, "tool")); err != nil {
				t.Errorf("returned before it was complete: %v", err)
			}
		})
	}
	wg.Wait()
	if n := builds.Load(); n != 1 {
		t.Errorf("built %d times, want once", n)
	}
}

func TestInstalledAfterFailure(t *testing.T) {
	p := newPlace(t)
	broken := errors.New("no network")
	dir := filepath.Join(p.cache, "key")
	if _, err := p.installed(t.Context(), "key", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), broken) }); !errors.Is(err, broken) {
		t.Fatalf("error %v, want %v", err, broken)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a failed installation left %s (%v)", dir, err)
	}
	// What a killed testbed leaves: a directory without the mark.
	if err := os.MkdirAll(filepath.Join(dir, "half"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := p.installed(t.Context(), "key", func(dir string) error { return os.Mkdir(dir, 0o700) }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "half")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the remains of an interrupted installation are in use (%v)", err)
	}
}

// A server that the machine cannot have is left out, unless it was asked for.
func TestUnavailable(t *testing.T) {
	t.Setenv("FLOWSHIP_TESTBED_DIR", t.TempDir())
	ended := false
	all := []server{
		{name: "a", start: func(context.Context, *place) ([]string, error) { return []string{"A=1"}, nil }},
		{name: "b", start: func(_ context.Context, p *place) ([]string, error) {
			p.atEnd(func() { ended = true })
			return nil, &unavailableError{"only on the moon"}
		}},
	}
	var stderr strings.Builder
	bed, err := startAll(nil, all, false, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	bed.stop()
	if diff := cmp.Diff([]string{"b"}, bed.missing); diff != "" || !ended {
		t.Errorf("missing (-want +got):\n%s\nits end was called: %v", diff, ended)
	}
	if diff := cmp.Diff("testbed: b: left out: only on the moon\n", stderr.String()); diff != "" {
		t.Errorf("stderr (-want +got):\n%s", diff)
	}
	if _, err := startAll(nil, all, true, &stderr); err == nil || err.Error() != "b: only on the moon" {
		t.Errorf("required: %v", err)
	}
}

func TestLockIsGivenUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path, func() { t.Error("waited for a free lock") })
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := lock(ctx, path, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}
