package dockerinfra_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/dockerinfra"
)

func inspect(t *testing.T, host string, r *launch.Running) container.InspectResponse {
	t.Helper()
	c, err := docker(t, host).ContainerInspect(t.Context(), cid(r), client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Container
}

// As with Prefect's worker, a container stays unless auto_remove says otherwise, and a second one
// of the same name gets another.
func TestKept(t *testing.T) {
	host := engine(t)
	infra, driver := open(t, dockerinfra.Options{Host: host})
	var names []string
	var jobs []*launch.Running
	for range 3 {
		r := start(t, infra, launch.Job{
			Configuration: configure(t, infra, map[string]any{"auto_remove": false}), Command: sh("echo hello; exit 5"),
			Name: "Flow Run / ä", Labels: map[string]string{"prefect.io/flow-run-name": "x"},
		})
		t.Cleanup(func() {
			docker(t, host).ContainerRemove(context.Background(), cid(r), client.ContainerRemoveOptions{Force: true})
		})
		wait(t, r)
		c := inspect(t, host, r)
		names = append(names, c.Name)
		if c.Config.Labels["io.prefect.flow-run-name"] != "x" || c.Config.Labels[dockerinfra.LabelKeep] == "" {
			t.Errorf("labels %v", c.Config.Labels)
		}
		jobs = append(jobs, r)
	}
	if diff := cmp.Diff([]string{"/Flow-Run-a", "/Flow-Run-a-1", "/Flow-Run-a-2"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(jobs[0].ID(), "http+docker://localhost:") && strings.HasPrefix(host, "unix:") {
		t.Errorf("id %q", jobs[0].ID())
	}
	// Another program, later.
	if err := driver.Close(); err != nil {
		t.Error(err)
	}
	later, _ := open(t, dockerinfra.Options{Host: host})
	found, err := later.Find(t.Context(), jobs[0].ID())
	if err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, found); exit.Code != 5 {
		t.Errorf("exit %+v", exit)
	}
	inspect(t, host, found) // it is still there
	if _, err := docker(t, host).ContainerRemove(t.Context(), cid(found), client.ContainerRemoveOptions{}); err != nil {
		t.Error(err)
	}
	if exit := wait(t, found); exit.Code != 5 { // that is remembered
		t.Errorf("exit %+v", exit)
	}
	third, _ := open(t, dockerinfra.Options{Host: host})
	if _, err := third.Find(t.Context(), jobs[0].ID()); !errors.Is(err, launch.ErrNotFound) {
		t.Errorf("find: %v", err)
	}
}

// What a program leaves that ends before its jobs, the next one sweeps, but for what is to stay
// and what it has found.
func TestSweep(t *testing.T) {
	host := engine(t)
	dir := t.TempDir()
	infra, crashed := open(t, dockerinfra.Options{Host: host, Dir: dir})
	job := func(infra *launch.Infrastructure, keep bool, source string) *launch.Running {
		r := start(t, infra, launch.Job{Configuration: configure(t, infra, map[string]any{"auto_remove": !keep}), Command: sh(source)})
		t.Cleanup(func() {
			docker(t, host).ContainerRemove(context.Background(), cid(r), client.ContainerRemoveOptions{Force: true})
		})
		return r
	}
	running, keptRunning, keptEnded := job(infra, false, forever), job(infra, true, forever), job(infra, true, "exit 3")
	wait(t, keptEnded)

	living, driver := open(t, dockerinfra.Options{Host: host, Dir: dir})
	theirs := job(living, false, forever)
	sweep := func(want ...string) {
		t.Helper()
		swept, err := driver.Sweep(t.Context())
		if err != nil {
			t.Error(err)
		}
		got := map[string]bool{}
		for _, id := range swept {
			got[id] = true
		}
		wanted := map[string]bool{}
		for _, id := range want {
			wanted[id] = true
		}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("swept (-want +got):\n%s", diff)
		}
	}
	sweep() // both live
	if err := crashed.Close(); err != nil {
		t.Error(err)
	}
	adopting, adopter := open(t, dockerinfra.Options{Host: host, Dir: dir})
	if _, err := adopting.Find(t.Context(), running.ID()); err != nil {
		t.Error(err)
	}
	sweep() // somebody found one of them
	if err := adopter.Close(); err != nil {
		t.Error(err)
	}
	sweep(running.ID(), keptRunning.ID())
	if c := inspect(t, host, keptRunning); c.State.Running {
		t.Error("what is to be kept still runs")
	}
	if c := inspect(t, host, theirs); !c.State.Running {
		t.Error("the container of one who lives was ended")
	}
	inspect(t, host, keptEnded)
	sweep()
	if err := theirs.Stop(t.Context(), 0); err != nil {
		t.Error(err)
	}
	wait(t, theirs)
	if err := driver.Close(); err != nil {
		t.Error(err)
	}
	if locks, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(locks) > 0 {
		t.Errorf("left: %q, %v", locks, err)
	}
}

// A driver that is closed tells those who wait.
func TestClose(t *testing.T) {
	host := engine(t)
	dir := t.TempDir()
	infra, driver := open(t, dockerinfra.Options{Host: host, Dir: dir})
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, nil), Command: sh(forever)})
	t.Cleanup(func() {
		docker(t, host).ContainerRemove(context.Background(), cid(r), client.ContainerRemoveOptions{Force: true})
	})
	waited := make(chan error, 1)
	go func() {
		_, err := r.Wait(context.Background())
		waited <- err
	}()
	if err := driver.Close(); err != nil {
		t.Error(err)
	}
	if err := <-waited; err == nil || !strings.Contains(err.Error(), "the driver was closed") {
		t.Errorf("wait: %v", err)
	}
	if c := inspect(t, host, r); !c.State.Running {
		t.Error("the job does not go on")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v: nobody would sweep it", entries, err)
	}
}
