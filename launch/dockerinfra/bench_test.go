package dockerinfra_test

import (
	"os/exec"
	"testing"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/dockerinfra"
)

// BenchmarkTrue compares a job that does nothing with what the docker command takes for it.
func BenchmarkTrue(b *testing.B) {
	host := engine(b)
	b.Run("driver", func(b *testing.B) {
		driver := dockerinfra.New(&dockerinfra.Options{Host: host, Dir: b.TempDir()})
		defer driver.Close()
		infra := launch.New(dockerinfra.Type, driver)
		configuration, err := infra.Template().Resolve(map[string]any{"image": testImage, "image_pull_policy": "Never", "auto_remove": true})
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			r, err := infra.Start(b.Context(), launch.Job{Configuration: configuration, Command: []string{"true"}})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := r.Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("docker run", func(b *testing.B) {
		command, err := exec.LookPath("docker")
		if err != nil {
			b.Skip("there is no docker command")
		}
		for b.Loop() {
			if out, err := exec.CommandContext(b.Context(), command, "-H", host, "run", "--rm", testImage, "true").CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
		}
	})
}
