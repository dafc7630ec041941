package dockerinfra_test

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/dockerinfra"
	"github.com/flowship/flowship/launch/infratest"
)

// testImage is what testbed makes: busybox, with FLOWSHIP_TEST_INHERITED in its environment.
const testImage = "flowship-test:busybox"

const deadline = 20 * time.Second

func engine(t testing.TB) string { return started.Server(t, "docker", "FLOWSHIP_TEST_DOCKER") }

// open returns an infrastructure whose driver is closed with the test.
func open(t *testing.T, opts dockerinfra.Options) (*launch.Infrastructure, *dockerinfra.Driver) {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	driver := dockerinfra.New(&opts)
	t.Cleanup(func() {
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
	})
	return launch.New(dockerinfra.Type, driver), driver
}

// docker returns a client of the engine, to look behind the driver's back.
func docker(t *testing.T, host string) *client.Client {
	t.Helper()
	api, err := client.New(client.WithHost(host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	return api
}

// testLabel is on the containers of these tests: those of other packages use the same engine at the
// same time.
const testLabel = "dev.flowship.test-dockerinfra"

// variables are job variables of a test, which may add to them.
func variables(more map[string]any) map[string]any {
	all := map[string]any{"image": testImage, "image_pull_policy": "Never", "auto_remove": true, "labels": map[string]any{testLabel: "yes"}}
	maps.Copy(all, more)
	return all
}

// left are the containers of these tests that the engine has. Of the tests here, none runs at the
// same time as another.
func left(t *testing.T, host string) []string {
	t.Helper()
	list, err := docker(t, host).ContainerList(context.Background(), client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("label", dockerinfra.LabelJob, testLabel)})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range list.Items {
		names = append(names, strings.Join(c.Names, " "))
	}
	return names
}

func nothingLeft(t *testing.T, host string) {
	t.Helper()
	if names := left(t, host); len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
}

func configure(t *testing.T, infra *launch.Infrastructure, more map[string]any) map[string]any {
	t.Helper()
	configuration, err := infra.Template().Resolve(variables(more))
	if err != nil {
		t.Fatal(err)
	}
	return configuration
}

func TestConformance(t *testing.T) {
	host := engine(t)
	infratest.Run(t, func(t *testing.T) *launch.Infrastructure {
		infra, _ := open(t, dockerinfra.Options{Host: host})
		return infra
	}, infratest.Options{
		Variables: variables(nil),
		Inherited: "FLOWSHIP_TEST_INHERITED",
		Files:     true,
		Early:     true,
		Deadline:  deadline,
		Left:      func(t *testing.T) []string { return left(t, host) },
	})
}
