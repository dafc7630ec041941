package kubernetesinfra_test

import (
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/kubernetesinfra"
)

// What programs of a job are made for: what the manifest asks for, else what all nodes are.
func TestPlatform(t *testing.T) {
	infra, _ := open(t, kubernetesinfra.Options{Kubeconfig: kubeconfig(t)})
	for _, test := range []struct {
		name     string
		selector map[string]any
		want     launch.Platform
	}{
		{"the manifest's", map[string]any{"kubernetes.io/arch": "s390x"}, launch.Platform{OS: "linux", Arch: "s390x"}},
		{"the nodes'", nil, launch.Platform{OS: "linux", Arch: runtime.GOARCH}},
	} {
		configuration, err := infra.Template().Resolve(map[string]any{"image": testImage})
		if err != nil {
			t.Fatal(err)
		}
		if test.selector != nil {
			configuration["job_manifest"].(map[string]any)["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)["nodeSelector"] = test.selector
		}
		got, err := infra.Platform(t.Context(), configuration)
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", test.name, err, diff)
		}
	}
}
