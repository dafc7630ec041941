package dockerinfra_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/dockerinfra"
	"github.com/flowship/flowship/launch/infratest"
)

// What the configuration says is what the container has.
func TestConfiguration(t *testing.T) {
	host := engine(t)
	for _, name := range []string{"flowship-test-one", "flowship-test-two"} {
		api := docker(t, host)
		if _, err := api.NetworkCreate(t.Context(), name, client.NetworkCreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { api.NetworkRemove(context.Background(), name, client.NetworkRemoveOptions{}) })
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("mounted\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	kwargs := func(name string, value any) map[string]any {
		return map[string]any{"container_create_kwargs": map[string]any{name: value}}
	}
	for _, test := range []struct {
		name         string
		variables    map[string]any
		command      []string
		stdout, said string // said: part of standard error
	}{
		{"the engine's machine", nil, sh(`grep -c host.docker.internal /etc/hosts`), "1\n", ""},
		{"a volume", map[string]any{"volumes": []string{dir + ":/data:ro"}}, sh(`cat /data/file; echo >/data/other`), "mounted\n", "Read-only file system"},
		{"networks", map[string]any{"networks": []string{"flowship-test-one", "flowship-test-two"}}, sh(`ls /sys/class/net | tr '\n' ' '`), "eth0 eth1 lo ", ""},
		{"no network", map[string]any{"network_mode": "none"}, sh(`ls /sys/class/net`), "lo\n", ""},
		{"memory", map[string]any{"mem_limit": "32m"}, sh(`cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes`), "33554432\n", ""},
		{"user", kwargs("user", 1234), sh(`id -u`), "1234\n", ""},
		{"hostname", kwargs("hostname", "flowship-test"), sh(`hostname`), "flowship-test\n", ""},
		{"entrypoint", kwargs("entrypoint", "echo '<a b>'"), []string{"c"}, "<a b> c\n", ""},
		{"directory", kwargs("working_dir", "/etc"), sh(`pwd`), "/etc\n", ""},
		{"temporary file systems", kwargs("tmpfs", map[string]any{"/scratch": "size=1m"}), sh(`grep -c ' /scratch tmpfs ' /proc/mounts`), "1\n", ""},
		{"no output kept", kwargs("log_config", map[string]any{"type": "none"}), sh(`echo hello`), "", "docker: the engine's log driver keeps no output"},
	} {
		t.Run(test.name, func(t *testing.T) {
			infra, _ := open(t, dockerinfra.Options{Host: host})
			var stdout, stderr infratest.Output
			wait(t, start(t, infra, launch.Job{Configuration: configure(t, infra, test.variables), Command: test.command, Stdout: &stdout, Stderr: &stderr}))
			if diff := cmp.Diff(test.stdout, stdout.String()); diff != "" {
				t.Errorf("standard output (-want +got):\n%s", diff)
			}
			if said := stderr.String(); !strings.Contains(said, test.said) || test.said == "" && said != "" {
				t.Errorf("standard error %q, want %q", said, test.said)
			}
			nothingLeft(t, host)
		})
	}
}

// Files reach jobs of other users as well, who can leave some; directories that are there stay as
// they are.
func TestFilesForOthers(t *testing.T) {
	host := engine(t)
	infra, _ := open(t, dockerinfra.Options{Host: host})
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, []byte("given\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken := filepath.Join(t.TempDir(), "taken")
	var stdout infratest.Output
	wait(t, start(t, infra, launch.Job{
		Configuration: configure(t, infra, map[string]any{"container_create_kwargs": map[string]any{"user": "1234"}}),
		Command:       sh(`cat /flowship/in/file /tmp/file; stat -c '%a %n' /flowship /flowship/in /flowship/out/new /tmp /etc; id -u >/flowship/out/new/file`),
		Files:         []launch.File{{Path: "/flowship/in/file", Source: source, Mode: 0o644}, {Path: "/tmp/file", Source: source, Mode: 0o444}},
		Take:          []launch.File{{Path: "/flowship/out/new/file", Source: taken}, {Path: "/etc/nonesuch", Source: taken}},
		Stdout:        &stdout,
	}))
	if diff := cmp.Diff("given\ngiven\n755 /flowship\n755 /flowship/in\n1777 /flowship/out/new\n1777 /tmp\n755 /etc\n", stdout.String()); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	if got, err := os.ReadFile(taken); err != nil || string(got) != "1234\n" {
		t.Errorf("taken: %q, %v", got, err)
	}
	nothingLeft(t, host)
}

// What cannot be taken as a file is an error beside the exit, and the others are taken.
func TestTakeRefuses(t *testing.T) {
	host := engine(t)
	infra, _ := open(t, dockerinfra.Options{Host: host})
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	r := start(t, infra, launch.Job{
		Configuration: configure(t, infra, nil), Command: sh(`mkdir /dir; ln -s /etc/passwd /link; echo content >/file; exit 6`),
		Take: []launch.File{{Path: "/dir", Source: at("dir")}, {Path: "/link", Source: at("link")}, {Path: "/file", Source: at("file")}},
	})
	exit, err := r.Wait(t.Context())
	if exit == nil || exit.Code != 6 {
		t.Errorf("exit %+v", exit)
	}
	for _, want := range []string{`take "/dir" out of the container: it is not a regular file`, `take "/link" out of the container: it is not a regular file`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "file" {
		t.Errorf("taken: %v, %v", entries, err)
	}
	nothingLeft(t, host)
}
