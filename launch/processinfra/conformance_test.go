//go:build unix

package processinfra_test

import (
	"os"
	"testing"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/infratest"
	"github.com/flowship/flowship/launch/processinfra"
)

func TestConformance(t *testing.T) {
	t.Setenv("FLOWSHIP_TEST_INHERITED", "yes")
	dir := t.TempDir()
	infratest.Run(t, func(*testing.T) *launch.Infrastructure {
		return launch.New(processinfra.Type, processinfra.New(&processinfra.Options{Dir: dir}))
	}, infratest.Options{
		Inherited: "FLOWSHIP_TEST_INHERITED",
		Shared:    t.TempDir(),
		Left: func(t *testing.T) []string {
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			return names
		},
	})
}
