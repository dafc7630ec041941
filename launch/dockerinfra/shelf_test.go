package dockerinfra_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/dockerinfra"
	"github.com/flowship/flowship/launch/infratest"
)

// shelfOf returns the name of the volume for a file that many jobs get, which is removed with the
// test. Programs of other tests have shelves on the same engine.
func shelfOf(t *testing.T, host string, shared launch.File) string {
	t.Helper()
	name, err := dockerinfra.ShelfName(shared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { docker(t, host).VolumeRemove(context.Background(), name, client.VolumeRemoveOptions{}) })
	return name
}

// hasShelf reports whether the engine has the volume.
func hasShelf(t *testing.T, host, name string) bool {
	t.Helper()
	filters := make(client.Filters).Add("label", dockerinfra.LabelShelf).Add("name", name)
	list, err := docker(t, host).VolumeList(context.Background(), client.VolumeListOptions{Filters: filters})
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Items) == 1
}

// A file that many jobs get is brought to the engine once, also by several programs at once; none of
// the jobs can change it. Where it is not whole, because a program was killed that brought it, jobs
// get copies of their own.
func TestShared(t *testing.T) {
	host := engine(t)
	source := filepath.Join(t.TempDir(), "program")
	text := "#!/bin/sh\necho " + strings.ToLower(rand.Text()) + "\n" + strings.Repeat("# a comment\n", 1<<17)
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	word := strings.Fields(text)[2]
	shared := launch.File{Path: "/shared/bin/program", Source: source, Mode: 0o755, Shared: true}
	name := shelfOf(t, host, shared)
	infra, _ := open(t, dockerinfra.Options{Host: host})
	other, _ := open(t, dockerinfra.Options{Host: host})
	run := func(infra *launch.Infrastructure, command string) (string, error) {
		var out infratest.Output
		r, err := infra.Start(t.Context(), launch.Job{
			Configuration: configure(t, infra, nil), Stdout: &out, Stderr: &out,
			Files:   []launch.File{shared, {Path: "/shared/file", Source: source}},
			Command: []string{"sh", "-c", "/shared/bin/program && " + command},
		})
		if err == nil {
			_, err = r.Wait(t.Context())
		}
		return strings.TrimSpace(out.String()), err
	}
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			if out, err := run([]*launch.Infrastructure{infra, other}[i%2], "true"); err != nil || out != word {
				t.Errorf("job %d: %q, %v", i, out, err)
			}
		})
	}
	all.Wait()
	if !hasShelf(t, host, name) {
		t.Fatal("there is no such volume")
	}
	api := docker(t, host)
	const change = "{ echo >>/shared/bin/program; rm -f /shared/bin/program; grep -c ' /shared/bin ' /proc/mounts; }"
	if out, err := run(infra, change+" 2>/dev/null"); err != nil || out != word+"\n1" {
		t.Errorf("a job that has it mounted: %q, %v", out, err)
	}
	if out, err := run(other, "true"); err != nil || out != word {
		t.Errorf("after a job that would have changed it: %q, %v", out, err)
	}
	// Its program was killed before it had brought anything.
	if _, err := api.VolumeRemove(t.Context(), name, client.VolumeRemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: name, Labels: map[string]string{dockerinfra.LabelShelf: "gone"}}); err != nil {
		t.Fatal(err)
	}
	if out, err := run(infra, "grep -c ' /shared/bin ' /proc/mounts"); err != nil || out != word+"\n0" {
		t.Errorf("without: %q, %v", out, err)
	}
	nothingLeft(t, host)
}

// A program that is told to stop while it brings a file leaves no half of it, for which jobs would get
// copies of their own for long.
func TestSharedGivenUp(t *testing.T) {
	host := engine(t)
	source := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(source, []byte(strings.ToLower(rand.Text())), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(source, 64<<20); err != nil {
		t.Fatal(err)
	}
	infra, _ := open(t, dockerinfra.Options{Host: host})
	shared := launch.File{Path: "/shared/bin/program", Source: source, Mode: 0o755, Shared: true}
	name := shelfOf(t, host, shared)
	job := launch.Job{
		Configuration: configure(t, infra, nil), Command: sh("grep -c ' /shared/bin ' /proc/mounts"), Files: []launch.File{shared},
	}
	ctx, stop := context.WithCancel(t.Context())
	var starting sync.WaitGroup
	starting.Go(func() {
		if _, err := infra.Start(ctx, job); !errors.Is(err, context.Canceled) {
			t.Errorf("it was started: %v", err)
		}
	})
	until(t, "the shelf is there", func() bool { return hasShelf(t, host, name) })
	stop()
	starting.Wait()
	var out infratest.Output
	job.Stdout = &out
	wait(t, start(t, infra, job))
	if out.String() != "1\n" {
		t.Errorf("the next job has %q such mounts", out.String())
	}
	nothingLeft(t, host)
}
