package submit

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// ErrNoHome: neither a home directory nor another place for flowship's own files is known.
var ErrNoHome = errors.New("no home directory")

// CacheDir returns the directory of what only saves time: home/cache or, when home is "", the
// user's cache directory.
func CacheDir(home string) (string, error) {
	if home != "" {
		return filepath.Abs(filepath.Join(home, "cache"))
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", ErrNoHome
	}
	return filepath.Join(dir, "flowship"), nil
}

// StateDir returns the directory of stored bundles and flow runs: home or, when home is "",
// that of the XDG base directory specification.
func StateDir(home string) (string, error) {
	if home != "" {
		return filepath.Abs(home)
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return "", ErrNoHome
		}
		return filepath.Join(dir, "flowship"), nil
	}
	// Relative paths in the variable are invalid, says the specification.
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "flowship"), nil
	}
	dir, err := os.UserHomeDir()
	if err != nil {
		return "", ErrNoHome
	}
	return filepath.Join(dir, ".local", "state", "flowship"), nil
}

// databasePath is the file of flow runs in a state directory.
func databasePath(stateDir string) string { return filepath.Join(stateDir, "flowship.db") }
