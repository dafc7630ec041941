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
	"github.com/flowship/flowship/launch/infratest"
)

func inspect(t *testing.T, host string, r *launch.Running) container.InspectResponse {
	t.Helper()
	c, err := docker(t, host).ContainerInspect(t.Context(), cid(r), client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Container
}

// Before a container starts, its id is known, and another program finds it as one that has ended:
// its end is that it never began.
func TestKilledBeforeTheStart(t *testing.T) {
	host := engine(t)
	infra, _ := open(t, dockerinfra.Options{Host: host})
	other, _ := open(t, dockerinfra.Options{Host: host})
	var found *launch.Running
	wait(t, start(t, infra, launch.Job{Configuration: configure(t, infra, nil), Command: sh("exit 0"), Known: func(id string) {
		var err error
		if found, err = other.Find(t.Context(), id, nil); err != nil || !found.Ended() {
			t.Fatalf("found %+v, %v", found, err)
		}
		if exit, err := found.Wait(t.Context()); exit != nil || err == nil || !strings.Contains(err.Error(), "never started") {
			t.Errorf("exit %+v, %v", exit, err)
		}
	}}))
	if found == nil {
		t.Error("the id was not told")
	}
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
	found, err := later.Find(t.Context(), jobs[0].ID(), nil)
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
	if _, err := third.Find(t.Context(), jobs[0].ID(), nil); !errors.Is(err, launch.ErrNotFound) {
		t.Errorf("find: %v", err)
	}
}

// A job whose program is gone is seen to its end by another, which gets all of its output and its
// files; one that leaves in between does not keep the next one from that.
func TestTakenUp(t *testing.T) {
	host := engine(t)
	dir := t.TempDir()
	infra, gone := open(t, dockerinfra.Options{Host: host, Dir: dir})
	r := start(t, infra, launch.Job{Configuration: configure(t, infra, nil), Command: sh("echo one; echo two >&2; until test -e /go; do sleep 0.05; done; echo three; echo 7 >/result")})
	if err := gone.Close(); err != nil {
		t.Error(err)
	}
	infra, _ = open(t, dockerinfra.Options{Host: host, Dir: dir})
	var first infratest.Output
	opts := &launch.FindOptions{Stdout: &first, Stderr: &first}
	found, err := infra.Find(t.Context(), r.ID(), opts)
	if err != nil {
		t.Fatal(err)
	}
	left, leave := context.WithCancel(t.Context())
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		found.Wait(left)
	}()
	until(t, "it gets the output", func() bool { return strings.Contains(first.String(), "two") })
	leave()
	<-waited
	var stdout, stderr infratest.Output
	result := filepath.Join(t.TempDir(), "result")
	opts = &launch.FindOptions{Stdout: &stdout, Stderr: &stderr, Take: []launch.File{{Path: "/result", Source: result}}}
	if found, err = infra.Find(t.Context(), r.ID(), opts); err != nil || found.Ended() {
		t.Fatalf("ended %v, %v", found.Ended(), err)
	}
	exec, err := docker(t, host).ExecCreate(t.Context(), cid(r), client.ExecCreateOptions{Cmd: []string{"touch", "/go"}})
	if err == nil {
		_, err = docker(t, host).ExecStart(t.Context(), exec.ID, client.ExecStartOptions{Detach: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, found); exit.Code != 0 {
		t.Errorf("exit %+v", exit)
	}
	content, err := os.ReadFile(result)
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"one\nthree\n", "two\n", "7\n"}, []string{stdout.String(), stderr.String(), string(content)}); diff != "" {
		t.Errorf("output, errors, file (-want +got):\n%s", diff)
	}
	if _, err := infra.Find(t.Context(), r.ID(), &launch.FindOptions{}); !errors.Is(err, launch.ErrNotFound) {
		t.Errorf("it is still there: %v", err)
	}
}

// What a program leaves that ends before its jobs, the next one sweeps, but for what is to stay
// and what it is to spare.
func TestSweep(t *testing.T) {
	host := engine(t)
	dir := t.TempDir()
	infra, crashed := open(t, dockerinfra.Options{Host: host, Dir: dir})
	job := func(infra *launch.Infrastructure, keep bool, source string) *launch.Running {
		r := start(t, infra, launch.Job{Labels: map[string]string{"prefect.io/flow-run-id": source}, Configuration: configure(t, infra, map[string]any{"auto_remove": !keep}), Command: sh(source)})
		t.Cleanup(func() {
			docker(t, host).ContainerRemove(context.Background(), cid(r), client.ContainerRemoveOptions{Force: true})
		})
		return r
	}
	running, keptRunning, keptEnded := job(infra, false, forever), job(infra, true, forever), job(infra, true, "exit 3")
	wait(t, keptEnded)

	living, driver := open(t, dockerinfra.Options{Host: host, Dir: dir})
	theirs := job(living, false, forever)
	sweep := func(spared string, want ...string) {
		t.Helper()
		swept, err := driver.Sweep(t.Context(), func(label func(string) string) bool { return label("prefect.io/flow-run-id") == spared })
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
	sweep("none") // both live
	if err := crashed.Close(); err != nil {
		t.Error(err)
	}
	sweep(forever)
	sweep("none", running.ID(), keptRunning.ID())
	if c := inspect(t, host, keptRunning); c.State.Running {
		t.Error("what is to be kept still runs")
	}
	if c := inspect(t, host, theirs); !c.State.Running {
		t.Error("the container of one who lives was ended")
	}
	inspect(t, host, keptEnded)
	sweep("none")
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

// holding is a writer that notes what there is when it is flushed.
type holding struct {
	infratest.Output
	flushed func()
}

func (h *holding) Flush() { h.flushed() }

// Output that somebody holds back is written before the container goes.
func TestFlushed(t *testing.T) {
	host := engine(t)
	infra, _ := open(t, dockerinfra.Options{Host: host})
	there := -1
	out := &holding{}
	out.flushed = func() {
		if out.String() == "all\n" {
			there = len(left(t, host))
		}
	}
	wait(t, start(t, infra, launch.Job{Configuration: configure(t, infra, nil), Command: sh("echo all"), Stdout: out}))
	if there != 1 {
		t.Errorf("%d containers when it was flushed", there)
	}
}
