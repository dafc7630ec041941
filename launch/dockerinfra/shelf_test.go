package dockerinfra_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/dockerinfra"
	"github.com/flowship/flowship/launch/infratest"
)

// shelves are the names of the engine's volumes with files that many jobs get.
func shelves(t *testing.T, host string) []string {
	t.Helper()
	list, err := docker(t, host).VolumeList(context.Background(), client.VolumeListOptions{Filters: make(client.Filters).Add("label", dockerinfra.LabelShelf)})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range list.Items {
		names = append(names, v.Name)
	}
	return names
}

// A file that many jobs get is brought to the engine once, also by several programs at once; none of
// the jobs can change it. Where it is not whole, because a program was killed that brought it, jobs
// get copies of their own.
func TestShared(t *testing.T) {
	host := engine(t)
	before := shelves(t, host)
	source := filepath.Join(t.TempDir(), "program")
	text := "#!/bin/sh\necho " + strings.ToLower(rand.Text()) + "\n" + strings.Repeat("# a comment\n", 1<<17)
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	word := strings.Fields(text)[2]
	infra, _ := open(t, dockerinfra.Options{Host: host})
	other, _ := open(t, dockerinfra.Options{Host: host})
	run := func(infra *launch.Infrastructure, command string) (string, error) {
		var out infratest.Output
		r, err := infra.Start(t.Context(), launch.Job{
			Configuration: configure(t, infra, nil), Stdout: &out, Stderr: &out,
			Files:   []launch.File{{Path: "/shared/bin/program", Source: source, Mode: 0o755, Shared: true}, {Path: "/shared/file", Source: source}},
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
	made := slices.DeleteFunc(shelves(t, host), func(name string) bool { return slices.Contains(before, name) })
	if len(made) != 1 {
		t.Fatalf("volumes %q", made)
	}
	api := docker(t, host)
	t.Cleanup(func() { api.VolumeRemove(context.Background(), made[0], client.VolumeRemoveOptions{}) })
	const change = "{ echo >>/shared/bin/program; rm -f /shared/bin/program; grep -c ' /shared/bin ' /proc/mounts; }"
	if out, err := run(infra, change+" 2>/dev/null"); err != nil || out != word+"\n1" {
		t.Errorf("a job that has it mounted: %q, %v", out, err)
	}
	if out, err := run(other, "true"); err != nil || out != word {
		t.Errorf("after a job that would have changed it: %q, %v", out, err)
	}
	// Its program was killed before it had brought anything.
	if _, err := api.VolumeRemove(t.Context(), made[0], client.VolumeRemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: made[0], Labels: map[string]string{dockerinfra.LabelShelf: "gone"}}); err != nil {
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
	before := shelves(t, host)
	source := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(source, []byte(strings.ToLower(rand.Text())), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(source, 64<<20); err != nil {
		t.Fatal(err)
	}
	infra, _ := open(t, dockerinfra.Options{Host: host})
	job := launch.Job{
		Configuration: configure(t, infra, nil), Command: sh("grep -c ' /shared/bin ' /proc/mounts"),
		Files: []launch.File{{Path: "/shared/bin/program", Source: source, Mode: 0o755, Shared: true}},
	}
	made := func() []string {
		return slices.DeleteFunc(shelves(t, host), func(name string) bool { return slices.Contains(before, name) })
	}
	ctx, stop := context.WithCancel(t.Context())
	var starting sync.WaitGroup
	starting.Go(func() {
		if _, err := infra.Start(ctx, job); !errors.Is(err, context.Canceled) {
			t.Errorf("it was started: %v", err)
		}
	})
	until(t, "the shelf is there", func() bool { return len(made()) == 1 })
	stop()
	starting.Wait()
	var out infratest.Output
	job.Stdout = &out
	wait(t, start(t, infra, job))
	if out.String() != "1\n" {
		t.Errorf("the next job has %q such mounts", out.String())
	}
	nothingLeft(t, host)
	for _, name := range made() {
		docker(t, host).VolumeRemove(context.Background(), name, client.VolumeRemoveOptions{})
	}
}
