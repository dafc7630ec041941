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

// openClient returns the client of the embedded default, whose executor is this program.
func openClient(ctx context.Context) (*submit.Client, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	client, err := submit.OpenClient(ctx, &submit.ClientOptions{Home: home(), Executor: []string{self, "step"}, Storage: &storage.OpenOptions{Openers: openers()}})
	if err != nil {
		return nil, unavailable(err)
	}
	return client, nil
}
