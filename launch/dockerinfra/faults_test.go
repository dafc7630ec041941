package dockerinfra_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/dockerinfra"
	"github.com/flowship/flowship/launch/infratest"
)

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	infratest.Until(t.Context(), t, deadline, what, done)
}

func start(t *testing.T, infra *launch.Infrastructure, job launch.Job) *launch.Running {
	t.Helper()
	return infratest.Start(t.Context(), t, infra, deadline, job)
}

func sh(source string) []string { return []string{"sh", "-c", source} }

func wait(t *testing.T, r *launch.Running) *launch.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	exit, err := r.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

func cid(r *launch.Running) string { return r.ID()[strings.LastIndexByte(r.ID(), ':')+1:] }

const forever = `echo ready; while :; do sleep 0.05; done`

// The engine refuses the files before it has read them; what it says counts.
func TestFilesIntoReadOnlyRoot(t *testing.T) {
	host := engine(t)
	infra, _ := open(t, dockerinfra.Options{Host: host})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 64<<20); err != nil { // more than is on its way when the answer comes
		t.Fatal(err)
	}
	_, err := infra.Start(t.Context(), launch.Job{
		Configuration: map[string]any{"image": testImage, "container_create_kwargs": map[string]any{"read_only": true}},
		Command:       sh("exit 0"),
		Files:         []launch.File{{Source: file, Path: "/work/file"}},
	})
	if err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("start: %v", err)
	}
}

func TestNoEngine(t *testing.T) {
	infra, _ := open(t, dockerinfra.Options{Host: "unix://" + filepath.Join(t.TempDir(), "nonesuch.sock")})
	_, err := infra.Start(t.Context(), launch.Job{Configuration: map[string]any{"image": testImage}, Command: sh("exit 0")})
	if err == nil || !strings.Contains(err.Error(), "launch: start docker: no Docker engine answers at \"unix://") || !strings.Contains(err.Error(), "start") {
		t.Errorf("start: %v", err)
	}
	if _, err := infra.Find(t.Context(), "http+docker://localhost:"+strings.Repeat("a", 64), nil); err == nil || errors.Is(err, launch.ErrNotFound) {
		t.Errorf("find: %v", err)
	}
	if _, err := infra.Find(t.Context(), "http://elsewhere:2375:"+strings.Repeat("a", 64), nil); err == nil || !strings.Contains(err.Error(), `it is on the engine at "http://elsewhere:2375"`) {
		t.Errorf("find on another engine: %v", err)
	}
}

// push puts the test image into a registry.
func push(t *testing.T, host, ref string) {
	t.Helper()
	api := docker(t, host)
	if _, err := api.ImageTag(t.Context(), client.ImageTagOptions{Source: testImage, Target: ref}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.ImageRemove(context.Background(), ref, client.ImageRemoveOptions{}) })
	r, err := api.ImagePush(t.Context(), ref, client.ImagePushOptions{RegistryAuth: "e30="})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for m, err := range r.JSONMessages(t.Context()) {
		if err != nil || m.Error != nil {
			t.Fatal(err, m.Error)
		}
	}
}

func forget(t *testing.T, host, ref string) {
	t.Helper()
	if _, err := docker(t, host).ImageRemove(t.Context(), ref, client.ImageRemoveOptions{}); err != nil {
		t.Fatal(err)
	}
}

// guarded is a registry before another one, that wants a name and a password.
func guarded(t *testing.T, registry string) string {
	t.Helper()
	target, err := url.Parse("http://" + registry)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, password, _ := r.BasicAuth(); name != "flow" || password != "ship-secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestPull(t *testing.T) {
	host, registry := engine(t), started.Server(t, "registry", "FLOWSHIP_TEST_REGISTRY")
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // nobody has logged in
	there, here := registry+"/flow/ship:1", registry+"/flow/here:1"
	push(t, host, there)
	forget(t, host, there)
	if _, err := docker(t, host).ImageTag(t.Context(), client.ImageTagOptions{Source: testImage, Target: here}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { docker(t, host).ImageRemove(context.Background(), here, client.ImageRemoveOptions{}) })
	behind := guarded(t, registry)
	locked := behind + "/flow/ship:1"
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	nobody := strings.TrimPrefix(closed.URL, "http://") + "/a:1"
	login := func(password, registry string) map[string]any {
		return map[string]any{"username": "flow", "password": password, "registry_url": registry}
	}
	for _, test := range []struct {
		name, image string
		policy      any
		credentials any
		err         string // part of the error of Start, or
		notes       string // part of what is said
	}{
		{"never", there, "Never", nil, fmt.Sprintf("the engine has no image %q, and image_pull_policy Never forbids to pull it", there), ""},
		{"not present", there, "IfNotPresent", nil, "", fmt.Sprintf("docker: pulling the image %q\n", there)},
		{"present", here, nil, nil, "", ""},
		{"always", there, "Always", nil, "", "docker: Status: "},
		{"always, only here", here, "Always", nil, fmt.Sprintf("the registry %q has no image %q", registry, here), ""},
		{"if possible, only here", here, "IfPossible", nil, "", "the engine has one of that name, which is used"},
		{"if possible, nowhere", registry + "/none:1", "IfPossible", nil, "and the engine has none of that name", ""},
		{"nowhere", registry + "/none:1", nil, nil, fmt.Sprintf("the registry %q has no image", registry), ""},
		{"no registry", nobody, nil, nil, fmt.Sprintf("pull the image %q: ", nobody), ""},
		{"denied", locked, nil, nil, fmt.Sprintf("the registry %q does not hand out the image %q, or only with other registry_credentials", behind, locked), ""},
		{"denied to others", locked, nil, login("ship-secret", registry), "does not hand out the image", ""},
		{"with a wrong password", locked, nil, login("wrong-secret", behind), "does not hand out the image", ""},
		{"with credentials", locked, nil, login("ship-secret", "http://"+behind+"/"), "", "docker: Status: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			infra, _ := open(t, dockerinfra.Options{Host: host})
			configuration := configure(t, infra, map[string]any{"image": test.image, "image_pull_policy": test.policy, "registry_credentials": test.credentials})
			var notes infratest.Output
			r, err := infra.Start(t.Context(), launch.Job{Configuration: configuration, Command: sh("exit 3"), Stderr: &notes})
			said := notes.String()
			switch {
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("%v, want %s", err, test.err)
			case test.err == "" && err != nil:
				t.Error(err)
			case test.err == "" && !strings.Contains(said, test.notes), test.policy == nil && test.name == "present" && said != "":
				t.Errorf("said %q, want %q", said, test.notes)
			}
			if strings.Contains(fmt.Sprint(err, said), "-secret") {
				t.Errorf("a password is shown: %v, %q", err, said)
			}
			if err == nil {
				if exit := wait(t, r); exit.Code != 3 {
					t.Errorf("exit %+v", exit)
				}
				if test.image != here {
					forget(t, host, test.image)
				}
			}
			nothingLeft(t, host)
		})
	}
}

// What ends a container from outside is said.
func TestEndedFromOutside(t *testing.T) {
	host := engine(t)
	for _, test := range []struct {
		name      string
		variables map[string]any
		source    string
		do        func(t *testing.T, api *client.Client, cid string)
		want      string
	}{
		{"killed", nil, forever, func(t *testing.T, api *client.Client, cid string) {
			if _, err := api.ContainerKill(t.Context(), cid, client.ContainerKillOptions{}); err != nil {
				t.Error(err)
			}
		}, "exit code 137: killed (SIGKILL), often because memory ran out"},
		{"asked to end", nil, `trap 'exit 143' TERM;` + forever, func(t *testing.T, api *client.Client, cid string) {
			if _, err := api.ContainerKill(t.Context(), cid, client.ContainerKillOptions{Signal: "TERM"}); err != nil {
				t.Error(err)
			}
		}, "exit code 143: terminated (SIGTERM), as happens when it is stopped from outside"},
		{"out of memory", map[string]any{"mem_limit": "16m", "memswap_limit": "16m"}, `echo ready; x=x; while :; do x="$x$x"; done`, nil,
			"exit code 137: killed because its memory limit of 16MiB was reached"},
		{"out of memory in a child", map[string]any{"mem_limit": "16m", "memswap_limit": "16m"}, `echo ready; (x=x; while :; do x="$x$x"; done); exit 3`, nil,
			"exit code 3: one of its processes was killed because its memory limit of 16MiB was reached"},
		{"removed", nil, forever, func(t *testing.T, api *client.Client, cid string) {
			if _, err := api.ContainerRemove(t.Context(), cid, client.ContainerRemoveOptions{Force: true}); err != nil {
				t.Error(err)
			}
		}, "exit code 137: the container was removed by somebody else"},
		{"command not found", nil, "echo ready; no-such-command", nil, "exit code 127: the command was not found"},
		{"not executable", nil, "echo ready; exec /etc/passwd", nil, "exit code 126: the command is not executable"},
	} {
		for _, keep := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/keep=%v", test.name, keep), func(t *testing.T) {
				infra, _ := open(t, dockerinfra.Options{Host: host})
				variables := map[string]any{"auto_remove": !keep}
				for name, value := range test.variables {
					variables[name] = value
				}
				var out infratest.Output
				r := start(t, infra, launch.Job{Configuration: configure(t, infra, variables), Command: sh(test.source), Stdout: &out})
				until(t, "it is ready", func() bool { return strings.Contains(out.String(), "ready") })
				if test.do != nil {
					test.do(t, docker(t, host), cid(r))
				}
				if diff := cmp.Diff(test.want, wait(t, r).Explain()); diff != "" {
					t.Errorf("explained (-want +got):\n%s", diff)
				}
				if keep {
					docker(t, host).ContainerRemove(t.Context(), cid(r), client.ContainerRemoveOptions{})
				}
				nothingLeft(t, host)
			})
		}
	}
}

// Wherever Start is given up, there is a job, or nothing.
func TestStartGivenUp(t *testing.T) {
	host := engine(t)
	infra, _ := open(t, dockerinfra.Options{Host: host})
	configuration := configure(t, infra, nil)
	given := 0
	for i := range 12 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*30*time.Millisecond)
		r, err := infra.Start(ctx, launch.Job{Configuration: configuration, Command: sh("exit 2")})
		cancel()
		if err != nil {
			given++
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("start: %v", err)
			}
			nothingLeft(t, host)
			continue
		}
		if exit := wait(t, r); exit.Code != 2 {
			t.Errorf("exit %+v", exit)
		}
	}
	if given < 3 {
		t.Errorf("only %d were given up", given)
	}
	nothingLeft(t, host)
}

// What fails after the container was made leaves none behind.
func TestStartUndone(t *testing.T) {
	host := engine(t)
	infra, _ := open(t, dockerinfra.Options{Host: host})
	for _, test := range []struct {
		variables map[string]any
		want      string
	}{
		{map[string]any{"command": "no-such-program"}, `exec: "no-such-program": executable file not found`},
		{map[string]any{"networks": []string{"nonesuch"}}, "network nonesuch not found"},
		{map[string]any{"networks": []string{"bridge", "nonesuch"}}, "network nonesuch not found"},
	} {
		if _, err := infra.Start(t.Context(), launch.Job{Configuration: configure(t, infra, test.variables), Command: sh("exit 0")}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %s", err, test.want)
		}
		nothingLeft(t, host)
	}
}
