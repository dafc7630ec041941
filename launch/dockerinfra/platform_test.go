package dockerinfra_test

import (
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/dockerinfra"
	"github.com/flowship/flowship/launch/infratest"
)

// What programs of a job are made for: what the configuration says, else what the image is.
func TestPlatform(t *testing.T) {
	host := engine(t)
	infra, _ := open(t, dockerinfra.Options{Host: host})
	api := docker(t, host)
	const image = "flowship-test:arm64"
	loaded, err := api.ImageLoad(t.Context(), infratest.Image(t, image, "arm64"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, loaded); err != nil { // until it is there
		t.Fatal(err)
	}
	loaded.Close()
	defer func() { api.ImageRemove(t.Context(), image, client.ImageRemoveOptions{}) }()
	version, err := api.ServerVersion(t.Context(), client.ServerVersionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	own := launch.Platform{OS: version.Os, Arch: version.Arch}
	for label, test := range map[string]struct {
		configuration map[string]any
		want          launch.Platform
	}{
		"the engine's":         {map[string]any{"image": "flowship-test:nosuch"}, own},
		"the image's":          {map[string]any{"image": image}, launch.Platform{OS: "linux", Arch: "arm64"}},
		"the engine's image":   {map[string]any{"image": testImage}, own},
		"of the create kwargs": {map[string]any{"image": testImage, "container_create_kwargs": map[string]any{"platform": "linux/riscv64"}}, launch.Platform{OS: "linux", Arch: "riscv64"}},
	} {
		got, err := infra.Platform(t.Context(), test.configuration)
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", label, err, diff)
		}
	}
}
