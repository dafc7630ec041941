package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestModuleKilled: Prefect's process is asked to end when flowship was killed, so that the flow
// does not go on where nobody looks after it.
func TestModuleKilled(t *testing.T) {
	program, err := exec.LookPath("flowship")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"flow.py": "def main(): pass\n",
		"python":  "#!/bin/sh\ntrap 'touch ended; exit' TERM\ntouch started\nwhile :; do sleep 0.01; done\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), program, "bundle", "build", "flow.py:main", "--out", "dist")
	build.Dir, build.Env = dir, append(os.Environ(), "FLOWSHIP_HOME="+t.TempDir())
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), program, "-m", "prefect.bundles.execute", "--key", "dist/bundle.json")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "FLOWSHIP_PYTHON="+filepath.Join(dir, "python"), "TMPDIR="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wantFile(t, filepath.Join(dir, "started"))
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	cmd.Wait() // it was killed
	wantFile(t, filepath.Join(dir, "ended"))
}

// wantFile waits until the file is there.
func wantFile(t *testing.T, path string) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s does not appear", path)
		}
	}
}
