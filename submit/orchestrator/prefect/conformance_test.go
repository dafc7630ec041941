package prefect_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/submit/orchestrator/orchestratortest"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

// server returns the settings of one of the real servers, or skips the test.
func server(t *testing.T, name, variable string) prefect.Settings {
	t.Helper()
	api := started.Server(t, name, variable)
	return prefect.Settings{
		APIURL: api, ProfilesFile: filepath.Join(t.TempDir(), "profiles.toml"), Profile: "mine",
	}
}

// plain returns the settings of the server that anybody may use.
func plain(t *testing.T) prefect.Settings {
	return server(t, "prefect", "FLOWSHIP_TEST_PREFECT_API")
}

// secured returns the settings of the server that wants a password and tokens.
func secured(t *testing.T) prefect.Settings {
	s := server(t, "prefect-secured", "FLOWSHIP_TEST_PREFECT_SECURED")
	s.AuthString = prefect.Secret(os.Getenv("FLOWSHIP_TEST_PREFECT_AUTH"))
	return s
}

// open returns a client that looks for losses whenever it is asked to.
func open(t *testing.T, s prefect.Settings) *prefect.Client {
	t.Helper()
	c, err := prefect.Open(&s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.LookForLosses(0)
	return c
}

// TestConformance: what a server's answers say of times, ids and order is its own.
func TestConformance(t *testing.T) {
	for name, settings := range map[string]func(*testing.T) prefect.Settings{"plain": plain, "secured": secured} {
		t.Run(name, func(t *testing.T) {
			settings(t)
			orchestratortest.Run(t, func(t *testing.T) orchestratortest.Backend { return open(t, settings(t)) }, &orchestratortest.Options{
				OwnTimes: true, OwnReplacements: true, KeepsToSchedule: true, LogsByTime: true,
			})
		})
	}
}
