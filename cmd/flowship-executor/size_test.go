package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// largest is the size in bytes that the program must stay below as it is delivered: it is copied
// into every container.
const largest = 15_000_000

func TestSize(t *testing.T) {
	file := filepath.Join(t.TempDir(), "flowship-executor")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, ".")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= largest {
		t.Errorf("the program has %d bytes, want less than %d", info.Size(), largest)
	}
}

// What no executor in a container needs, and what is heavy about the clients of the clouds.
func TestDependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	for _, foreign := range []string{
		"github.com/aws/", "github.com/Azure/", "cloud.google.com/", "google.golang.org/", "go.opentelemetry.io/", "gocloud.dev/",
		"github.com/moby/", "github.com/docker/docker/", "k8s.io/", "modernc.org/", "github.com/spf13/",
	} {
		if i := slices.IndexFunc(packages, func(p string) bool { return strings.HasPrefix(p, foreign) }); i >= 0 {
			t.Errorf("the program depends on %s", packages[i])
		}
	}
	if !slices.Contains(packages, "github.com/flowship/flowship/submit/orchestrator/prefect") {
		t.Errorf("%d packages, and none of them reports to a Prefect server", len(packages))
	}
}
