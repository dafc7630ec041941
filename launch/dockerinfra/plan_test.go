package dockerinfra

import (
	"encoding/json"
	"maps"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
)

func TestPlan(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("networks are chosen in another way there")
	}
	const local = "PREFECT_API_URL=http://127.0.0.1:4200/api"
	for _, test := range []struct {
		name      string
		variables map[string]any
		env       []string
		config    string // what is said beside Image and Cmd, or the error
		host      string
	}{
		{"nothing", nil, nil,
			`{"Labels":{"dev.flowship.keep":"true"}}`, `{"ExtraHosts":["host.docker.internal:host-gateway"]}`},
		{"removed", map[string]any{"auto_remove": true}, nil, `{}`, `{"ExtraHosts":["host.docker.internal:host-gateway"]}`},
		{"labels", map[string]any{"auto_remove": true, "labels": map[string]any{"prefect.io/flow-id": "theirs", "a": "b"}}, nil,
			`{"Labels":{"a":"b","io.prefect.flow-id":"theirs"}}`, `{"ExtraHosts":["host.docker.internal:host-gateway"]}`},
		{"a server here", map[string]any{"auto_remove": true}, []string{local},
			`{"Env":["` + local + `"]}`, `{"ExtraHosts":["host.docker.internal:host-gateway"],"NetworkMode":"host"}`},
		{"on the bridge", map[string]any{"auto_remove": true, "network_mode": "bridge"}, []string{local},
			`{"Env":["PREFECT_API_URL=http://host.docker.internal:4200/api"]}`, `{"ExtraHosts":["host.docker.internal:host-gateway"],"NetworkMode":"bridge"}`},
		{"in networks", map[string]any{"auto_remove": true, "networks": []string{"a", "b"}}, []string{local},
			`{"Env":["PREFECT_API_URL=http://host.docker.internal:4200/api"]}`, `{"ExtraHosts":["host.docker.internal:host-gateway"],"NetworkMode":"a"}`},
		{"the user's URL", map[string]any{"auto_remove": true, "network_mode": "bridge", "env": map[string]any{"PREFECT_API_URL": "http://localhost/api"}}, nil,
			`{"Env":["PREFECT_API_URL=http://localhost/api"]}`, `{"ExtraHosts":["host.docker.internal:host-gateway"],"NetworkMode":"bridge"}`},
		{"a server elsewhere", map[string]any{"auto_remove": true}, []string{"PREFECT_API_URL=https://localhost.example/api"},
			`{"Env":["PREFECT_API_URL=https://localhost.example/api"]}`, `{"ExtraHosts":["host.docker.internal:host-gateway"]}`},
		{"a server far away", map[string]any{"auto_remove": true}, []string{"PREFECT_API_URL=https://api.example/api"},
			`{"Env":["PREFECT_API_URL=https://api.example/api"]}`, `{}`},
		{"another's network", map[string]any{"auto_remove": true, "network_mode": "container:x"}, nil, `{}`, `{"NetworkMode":"container:x"}`},
		{"hosts of their own", map[string]any{"auto_remove": true, "container_create_kwargs": map[string]any{"extra_hosts": []string{"host.docker.internal:10.0.0.1", "a:b"}}}, nil,
			`{}`, `{"ExtraHosts":["host.docker.internal:10.0.0.1","a:b"]}`},
		{"limits", map[string]any{"auto_remove": true, "mem_limit": "1g", "memswap_limit": "-1", "privileged": true, "network_mode": "none"}, nil,
			`{}`, `{"Memory":1073741824,"MemorySwap":-1,"NetworkMode":"none","Privileged":true}`},
		{"volumes", map[string]any{"auto_remove": true, "network_mode": "none", "volumes": []string{"/a:/b:ro", "n:/c", "/anonymous"}}, nil,
			`{"Volumes":{"/anonymous":{}}}`, `{"Binds":["/a:/b:ro","n:/c"],"NetworkMode":"none"}`},
		{"what has a variable of its own", map[string]any{"auto_remove": true, "network_mode": "none", "container_create_kwargs": map[string]any{"mem_limit": "1g", "cap_add": []string{"A"}}}, nil,
			`{}`, `{"CapAdd":["A"],"NetworkMode":"none"}`},

		{"both", map[string]any{"networks": []string{"a"}, "network_mode": "host"}, nil, "networks and network_mode exclude each other", ""},
		{"no network", map[string]any{"networks": []string{""}}, nil, "networks: a name is empty", ""},
		{"image", map[string]any{"image": "A b"}, nil, `the image "A b": invalid reference format`, ""},
		{"policy", map[string]any{"image": strings.Repeat("a", 64), "image_pull_policy": "Always"}, nil, "image_pull_policy Always cannot be met", ""},
		{"volume", map[string]any{"volumes": []string{"$(pwd):/a"}}, nil, `"$(pwd)" is neither a path, which begins with / or ., nor the name of a volume`, ""},
		{"limit", map[string]any{"mem_limit": "much"}, nil, `mem_limit: "much" is not a size such as 512m or 1.5g`, ""},
		{"no limit", map[string]any{"mem_limit": "-1"}, nil, `mem_limit: "-1" is below zero`, ""},
		{"swap alone", map[string]any{"memswap_limit": "1g"}, nil, "memswap_limit needs a mem_limit", ""},
		{"unknown option", map[string]any{"container_create_kwargs": map[string]any{"cap_ad": "x"}}, nil, `container_create_kwargs: unknown option "cap_ad": did you mean "cap_add"?`, ""},
		{"under another name", map[string]any{"container_create_kwargs": map[string]any{"environment": map[string]any{}}}, nil, `use the job variable "env"`, ""},
		{"port", map[string]any{"container_create_kwargs": map[string]any{"ports": map[string]any{"80": "x"}}}, nil, `container_create_kwargs: "ports": "80": "x" is not a port`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			driver := New(nil)
			variables := map[string]any{"image": "busybox:1"}
			maps.Copy(variables, test.variables)
			configuration, err := driver.Template().Resolve(variables)
			if err != nil {
				t.Fatal(err)
			}
			p, err := driver.plan(&launch.Job{
				Configuration: configuration, Command: []string{"true"}, Env: test.env,
				Labels: map[string]string{"prefect.io/flow-id": "ours"},
			})
			if err != nil {
				if !strings.Contains(err.Error(), test.config) || test.host != "" {
					t.Errorf("%v, want %s", err, test.config)
				}
				return
			}
			p.address("1.41")
			if p.request.config.Labels["io.prefect.flow-id"] == "ours" {
				delete(p.request.config.Labels, "io.prefect.flow-id")
			}
			config := said(t, p.request.config).(map[string]any)
			delete(config, "Image")
			delete(config, "Cmd")
			if volumes := p.request.config.Volumes; len(volumes) > 0 {
				config["Volumes"] = volumes
			}
			if diff := cmp.Diff(test.config, compact(t, config)); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.host, compact(t, said(t, p.request.host))); diff != "" {
				t.Errorf("host (-want +got):\n%s", diff)
			}
		})
	}
}

func compact(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// An engine from before 20.10 does not know its own address, and one that has no network no hosts.
func TestOldEngine(t *testing.T) {
	p := &plan{gateway: true, request: &request{}}
	p.address("1.40")
	if hosts := p.request.host.ExtraHosts; len(hosts) > 0 {
		t.Errorf("hosts %q", hosts)
	}
}

// No error shows a password.
func TestSecret(t *testing.T) {
	const secret = "s3cr3t"
	for _, credentials := range []any{
		secret, []any{secret}, map[string]any{"username": "u", "password": []any{secret}, "registry_url": "r"},
	} {
		_, err := New(nil).plan(&launch.Job{Command: []string{"x"}, Configuration: map[string]any{"registry_credentials": credentials}})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
	}
}

// Credentials are for one registry.
func TestRegistryHost(t *testing.T) {
	for url, want := range map[string]string{
		"index.docker.io": "docker.io", "https://index.docker.io/v1/": "docker.io", "docker.io": "docker.io", "": "docker.io",
		"http://127.0.0.1:5000": "127.0.0.1:5000", "GHCR.io/owner": "ghcr.io", "https://a.example/v2/": "a.example",
	} {
		if got := registryHost(url); got != want {
			t.Errorf("%q: %q, want %q", url, got, want)
		}
	}
	for _, test := range []struct {
		image string
		sent  bool
	}{{"127.0.0.1:5000/a", true}, {"a", false}, {"127.0.0.1:5001/a", false}} {
		parsed, err := parseImage(test.image)
		if err != nil {
			t.Fatal(err)
		}
		p := &plan{image: parsed, credentials: &credentials{Username: "u", Password: "p", RegistryURL: "http://127.0.0.1:5000"}, notes: t.Output()}
		if got := p.authorization(t.Context()) != ""; got != test.sent {
			t.Errorf("%s: sent %v, want %v", test.image, got, test.sent)
		}
	}
}
