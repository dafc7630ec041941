//go:build linux

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A direct call in a container takes less than twice as long as "docker run", also when flowship as a
// whole is the executor, and one that fails ends as soon. On a machine that does other work, a round
// in which that is seen is enough.
func TestContainersAreQuick(t *testing.T) {
	engine := docker(t)
	program := filepath.Join(t.TempDir(), "flowship") // and no slim executor beside it
	if err := os.Link(filepath.Join(with(t)(delivered.programs()), "flowship"), program); err != nil {
		t.Fatal(err)
	}
	command := func(code int, argv ...string) time.Duration {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+engine, "FLOWSHIP_HOME="+filepath.Dir(program))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		begin := time.Now()
		err := cmd.Run()
		if took := time.Since(begin); cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == code {
			return took
		}
		t.Fatalf("%q: %v\n%s", argv, err, stderr.Bytes())
		return 0
	}
	const image, enough, rounds = "flowship-test:busybox", 1.8, 20
	command(0, program, "work-pool", "create", "dock", "--type", "docker")
	run := []string{program, "run", "--pool", "dock", "-v", "image=" + image, "-v", "image_pull_policy=Never", "-v", "auto_remove=true", "--"}
	for _, way := range []struct {
		code int
		argv []string
	}{{0, []string{"true"}}, {7, []string{"sh", "-c", "exit 7"}}} {
		command(way.code, append(run, way.argv...)...) // the first one brings the executor
		var ratios []float64
		for len(ratios) < rounds && (len(ratios) == 0 || slices.Min(ratios) > enough) {
			plain := command(way.code, append([]string{"docker", "run", "--rm", image}, way.argv...)...)
			ours := command(way.code, append(run, way.argv...)...)
			ratios = append(ratios, ours.Seconds()/plain.Seconds())
		}
		t.Logf("%q takes %.2f times as long", way.argv, slices.Min(ratios))
		if slices.Min(ratios) > enough {
			t.Errorf("%q: in no round it took at most %.1f times as long: %.2f", way.argv, enough, ratios)
		}
	}
}
