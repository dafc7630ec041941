package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
)

// delivered is what goes into containers and pods. It is made once for all tests, when the first of them needs it.
var delivered delivery

// What an image of the delivery has beside Python and Prefect.
const (
	bare         = ""                  // nothing
	withExecutor = "flowship-executor" // the slim executor, as "image build" puts it there
	withFlowship = "flowship"          // the whole program in its place
)

type delivery struct {
	mu     sync.Mutex
	dir    string
	images map[string]string // by where it is and what it has
	loaded []string          // into the engine
}

// testsWith runs the tests, and removes at their end what was delivered for them.
type testsWith struct {
	*testing.M
	*delivery
}

func (t testsWith) Run() int {
	code := t.M.Run()
	if err := t.remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

func (d *delivery) remove() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, image := range d.loaded {
		errs = append(errs, tool(nil, "docker", "--host", os.Getenv("FLOWSHIP_TEST_DOCKER"), "image", "rm", "--force", image))
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// programs returns a directory with flowship and, beside it, what it puts into containers: all linked statically.
func (d *delivery) programs() (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dir != "" {
		return d.dir, nil
	}
	dir, err := os.MkdirTemp("", "flowship-test-")
	if err != nil {
		return "", err
	}
	env, whole := []string{"CGO_ENABLED=0"}, filepath.Join(dir, "flowship")
	err = errors.Join(
		tool(env, "go", "build", "-ldflags=-s -w", "-o", whole, "../flowship"),
		tool(env, "go", "build", "-ldflags=-s -w", "-o", filepath.Join(dir, "flowship-executor-linux-"+runtime.GOARCH), "../flowship-executor"),
		os.Link(whole, filepath.Join(dir, "flowship-linux-"+runtime.GOARCH)),
	)
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	d.dir = dir
	return dir, nil
}

// load brings the testbed's image with Python into its engine, and returns its name there.
func (d *delivery) load(program string) (string, error) {
	return d.image("docker", program)
}

// push brings the testbed's image with Python into its registry, and returns its name.
func (d *delivery) push(program string) (string, error) { return d.image("registry", program) }

func (d *delivery) image(where, program string) (string, error) {
	base := os.Getenv("FLOWSHIP_TEST_IMAGE")
	dir, err := d.programs()
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if image := d.images[where+program]; image != "" {
		return image, nil
	}
	image, way, env := fmt.Sprintf("flowship-test-%d", os.Getpid()), "--load", []string{"DOCKER_HOST=" + os.Getenv("FLOWSHIP_TEST_DOCKER")}
	if where == "registry" {
		image, way = os.Getenv("FLOWSHIP_TEST_REGISTRY")+"/"+image, "--push"
	}
	image += ":python-" + program
	switch program {
	case bare:
		image = strings.TrimSuffix(image, "-")
		err = bring(base, image, where, dir)
	case withExecutor:
		err = tool(env, filepath.Join(dir, "flowship"), "image", "build", "--base", base, "-t", image, way)
	default:
		err = tool(env, filepath.Join(dir, "flowship"), "image", "build", "--base", base, "-t", image, way, "--executor", filepath.Join(dir, program))
	}
	if err != nil {
		return "", err
	}
	if where == "docker" {
		d.loaded = append(d.loaded, image)
	}
	if d.images == nil {
		d.images = map[string]string{}
	}
	d.images[where+program] = image
	return image, nil
}

// bring brings the image of a layout to where it is to be, as it is.
func bring(from, image, where, scratch string) error {
	index, err := layout.ImageIndexFromPath(from)
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	img, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return err
	}
	ref, err := name.ParseReference(image)
	if err != nil {
		return err
	}
	if where == "registry" {
		return remote.Write(ref, img)
	}
	return loadArchive(img, ref, filepath.Join(scratch, "image.tar"))
}

func loadArchive(img v1.Image, ref name.Reference, file string) error {
	defer os.Remove(file)
	if err := tarball.WriteToFile(file, ref, img); err != nil {
		return err
	}
	return tool(nil, "docker", "--host", os.Getenv("FLOWSHIP_TEST_DOCKER"), "image", "load", "--quiet", "--input", file)
}

func tool(env []string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// with is of a delivery that must not fail: with(t)(delivered.load(bare)).
func with(t *testing.T) func(string, error) string {
	return func(got string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
}

// cmdImage sets a variable to an image with Python in the engine, or in the registry, and says which program it has beside: image IMAGE load
// flowship-executor.
func cmdImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 || args[1] != "load" && args[1] != "push" {
		ts.Fatalf("usage: image VARIABLE load|push [PROGRAM]")
	}
	program, get := bare, delivered.load
	if len(args) == 3 {
		program = args[2]
	}
	if args[1] == "push" {
		get = delivered.push
	}
	image, err := get(program)
	ts.Check(err)
	ts.Setenv(args[0], image)
}

// cmdPrograms puts flowship's programs, linked statically, first in PATH.
func cmdPrograms(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: programs")
	}
	dir, err := delivered.programs()
	ts.Check(err)
	ts.Setenv("PATH", dir+string(os.PathListSeparator)+ts.Getenv("PATH"))
}
