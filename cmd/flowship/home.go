package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/flowship/flowship/bundle"
)

func registerNoCache(flags *pflag.FlagSet, noCache *bool) {
	flags.BoolVar(noCache, "no-cache", false, "read every file, whatever the stat cache remembers")
}

// statCache is where flowship remembers what unchanged files hashed to: below FLOWSHIP_HOME or,
// without, the user's cache directory. nil means to do without.
func statCache(noCache bool) *bundle.Cache {
	if noCache {
		return nil
	}
	if home := os.Getenv("FLOWSHIP_HOME"); home != "" {
		return bundle.OpenCache(filepath.Join(home, "cache"))
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil // no home directory: slower, no less right
	}
	return bundle.OpenCache(filepath.Join(dir, "flowship"))
}
