package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit"
)

func registerNoCache(flags *pflag.FlagSet, noCache *bool) {
	flags.BoolVar(noCache, "no-cache", false, "read every file, whatever the stat cache remembers")
}

// home is where state and cache lie; "" stands for the system's own directories for them.
func home() string { return os.Getenv("FLOWSHIP_HOME") }

// statCache is where flowship remembers what unchanged files hashed to; nil means to do without.
func statCache(noCache bool) *bundle.Cache {
	if noCache {
		return nil
	}
	dir, err := submit.CacheDir(home())
	if err != nil {
		return nil // no home directory: slower, no less right
	}
	return bundle.OpenCache(dir)
}

// openClient returns the client of the Prefect server that the settings of the environment name or,
// if they name none, of the embedded default. Its executor is this program.
func (c *console) openClient(ctx context.Context) (*submit.Client, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	settings, err := submit.PrefectSettings()
	if err != nil {
		return nil, &usageError{err: err, hint: "flowship reads Prefect's settings where Prefect does: PREFECT_ variables, .env, prefect.toml, pyproject.toml, the active profile"}
	}
	if settings != nil {
		for _, w := range settings.Warnings {
			c.warn("%s", w)
		}
	}
	client, err := submit.OpenClient(ctx, &submit.ClientOptions{
		Home: home(), Executor: []string{self, "step"}, Storage: &storage.OpenOptions{Openers: openers()}, Prefect: settings,
	})
	if err != nil {
		return nil, unavailable(err)
	}
	return client, nil
}
