package infratest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/flowship/flowship/launch"
)

// Output collects what a job writes, while it is looked at.
type Output struct {
	mu   sync.Mutex
	data bytes.Buffer
}

// Write implements [io.Writer].
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.data.String()
}

// Says reports whether a job has written what it writes when it is ready.
func (o *Output) Says(word string) func() bool {
	return func() bool { return strings.Contains(o.String(), word) }
}

// Until waits for a condition, and fails the test when that takes too long.
func Until(ctx context.Context, t testing.TB, deadline time.Duration, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// Start starts a job, which is stopped with the test at the latest.
func Start(ctx context.Context, t testing.TB, infra *launch.Infrastructure, deadline time.Duration, job launch.Job) *launch.Running {
	t.Helper()
	r, err := infra.Start(ctx, job)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		r.Stop(ctx, time.Nanosecond)
	})
	return r
}

// Template compares a driver's template with that of Prefect's worker, in a file.
func Template(t *testing.T, template *launch.Template, file string) {
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	if err := json.Unmarshal(source, &want); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(template)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("template (-Prefect +ours):\n%s", diff)
	}
}

// Vectors hands out the cases of a file that Prefect has made, one JSON value on each line, of which
// there must be so many. The function returns how we differ from the case.
func Vectors[T any](t *testing.T, file string, atLeast int, differs func(v *T) string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan(); n++ {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if diff := differs(&v); diff != "" {
			t.Errorf("%s (-want +got):\n%s", lines.Bytes(), diff)
		}
	}
	if err := lines.Err(); err != nil || n < atLeast {
		t.Errorf("%d vectors, %v", n, err)
	}
}

// Image is an image for an architecture, with nothing in it, as "docker save" writes it.
func Image(t testing.TB, image, arch string) io.Reader {
	t.Helper()
	made, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: arch, RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}})
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(image)
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := tarball.Write(tag, made, &archive); err != nil {
		t.Fatal(err)
	}
	return &archive
}
