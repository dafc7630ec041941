package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
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
	c.onPrefect = settings != nil
	if err := c.checkProfile(settings); err != nil {
		return nil, err
	}
	client, err := submit.OpenClient(ctx, &submit.ClientOptions{
		Home: home(), Executor: []string{self, "step"}, Storage: &storage.OpenOptions{Openers: openers()}, Prefect: settings,
		Warn: func(warning string) { c.warn("%s", warning) }, Lease: c.lease,
	})
	if err != nil {
		return nil, unavailable(err)
	}
	return client, nil
}

// checkProfile warns of what is wrong with Prefect's settings. A profile of --profile that there is
// none of is refused: another server, or the embedded default, would do what was not meant for it.
func (c *console) checkProfile(settings *prefect.Settings) error {
	if settings == nil && os.Getenv("PREFECT_PROFILE") != "" {
		// They name no server, which is different from what a mistyped profile does.
		var err error
		if settings, err = prefect.Discover(nil); err != nil {
			return unavailable(err)
		}
	}
	if settings == nil {
		return nil
	}
	if c.profile != "" && settings.Profile != c.profile {
		return usagef("prefect profile ls shows those that there are", "there is no profile %q", c.profile)
	}
	for _, w := range settings.Warnings {
		c.warn("%s", w)
	}
	return nil
}
