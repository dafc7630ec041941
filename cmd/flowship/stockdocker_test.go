//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// called is what contained.py says of a call that has ended.
type called struct {
	Way, ID       string
	Type, Message string
	Result        any
}

// contained has Prefect's own client call its flow in containers of the image, with flowship as the launcher. What it prints shows where it fails.
func (tm *team) contained(image, folder, include string, calls ...string) []called {
	tm.Helper()
	ctx, cancel := context.WithTimeout(tm.Context(), 3*time.Minute)
	defer cancel()
	cmd := tm.command(ctx, append([]string{filepath.Join(flows(tm.T, "stock"), "contained.py"), tm.pool, image, folder, include}, calls...)...)
	cmd.Dir = tm.TempDir()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		tm.Fatalf("contained.py: %v\n%s\n%s", err, out, errs.String())
	}
	tm.Cleanup(func() {
		if tm.Failed() {
			tm.Log(errs.String())
		}
	})
	var all []called
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var c called
		if json.Unmarshal(lines.Bytes(), &c) != nil || c.Way == "" {
			continue // what else the client prints
		}
		if c.Type == "COMPLETED" {
			c.Message = ""
		}
		all = append(all, c)
	}
	return all
}

func wantCalls(t *testing.T, want, got []called) {
	t.Helper()
	for i := range got {
		got[i].ID = ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// Prefect's decorator for containers, its client and its workers, with flowship as launcher: a direct call, which a worker in the client's
// process launches, and one that is left to a worker of the pool. Flowship is in the image.
func TestStockRunsContainers(t *testing.T) {
	engine := docker(t)
	image := with(t)(delivered.load(withFlowship))
	tm := newTeamOf(t, "docker")
	tm.env = append(tm.env, "DOCKER_HOST="+engine)
	tm.removeContainers()
	log := tm.workOn(t, tm.pool, "docker")
	got := tm.contained(image, t.TempDir(), "data/", "call", `submit:{"fail": true}`, "submit_to_work_pool")
	if len(got) > 0 {
		tm.logs(got[0].ID, "adding up")
	}
	wantCalls(t, []called{
		{Way: "call", Type: "COMPLETED", Result: map[string]any{"sum": 42.0, "script": true}},
		{Way: "submit", Type: "FAILED", Message: "Flow run encountered an exception: ValueError: as asked", Result: "ValueError('as asked')"},
		{Way: "submit_to_work_pool", Type: "COMPLETED", Result: map[string]any{"sum": 42.0, "script": true}},
	}, got)
	if said := log(); strings.Contains(said, tm.secret) {
		t.Errorf("the worker's log holds the secret:\n%s", said)
	}
}

// Flowship's worker puts flowship into the containers of Prefect's bundles, whose images have none.
func TestWorkerRunsStockContainers(t *testing.T) {
	engine := docker(t)
	image := with(t)(delivered.load(bare))
	tm := newTeamOf(t, "docker")
	tm.launcher = filepath.Join(with(t)(delivered.programs()), "flowship")
	tm.env = append(tm.env, "DOCKER_HOST="+engine)
	tm.removeContainers()
	stop := tm.serve()
	got := tm.contained(image, t.TempDir(), "data/", "submit_to_work_pool", `submit_to_work_pool:{"fail": true}`)
	wantCalls(t, []called{
		{Way: "submit_to_work_pool", Type: "COMPLETED", Result: map[string]any{"sum": 42.0, "script": true}},
		{Way: "submit_to_work_pool", Type: "FAILED", Message: "Flow run encountered an exception: ValueError: as asked", Result: "ValueError('as asked')"},
	}, got)
	stop()
}

// A deployment's command in a container hears itself that the run is being cancelled, and is left the time for that.
func TestWorkerRunsDeploymentsInContainers(t *testing.T) {
	engine := docker(t)
	image := with(t)(delivered.load(bare))
	tm := newTeamOf(t, "docker")
	tm.env = append(tm.env, "DOCKER_HOST="+engine)
	tm.removeContainers()
	stop := tm.serve()
	variables := fmt.Sprintf(`{"image": %q, "image_pull_policy": "Never", "volumes": ["%s:/team:ro"]}`, image, flows(t, "team"))
	tm.cancelGuarded(tm.deploy("/team", "guarded", variables, "{}"))
	stop()
}

// Prefect's documentation calls flows in containers of a pool without storage: the bundle and the result are in folders of the client's, which
// the containers have at the same paths.
func TestStockRunsContainersWithVolumes(t *testing.T) {
	engine := docker(t)
	image := with(t)(delivered.load(withFlowship))
	tm := newTeamOf(t, "docker")
	tm.env = append(tm.env, "DOCKER_HOST="+engine)
	tm.pool += "-bare"
	tm.flowship("work-pool", "create", tm.pool, "--type", "docker")
	tm.removeContainers()
	got := tm.contained(image, t.TempDir(), "", `call:{"files": false}`)
	wantCalls(t, []called{{Way: "call", Type: "COMPLETED", Result: map[string]any{"sum": 3.0, "script": false}}}, got)
}
