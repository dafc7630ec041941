package submit

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// ErrNoHome: neither a home directory nor another place for flowship's own files is known.
var ErrNoHome = errors.New("no home directory")

// CacheDir returns the absolute path of the directory of what only saves time: home/cache or,
// when home is "", one in the user's cache directory.
func CacheDir(home string) (string, error) {
	if home != "" {
		return filepath.Abs(filepath.Join(home, "cache"))
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return ofUser(os.UserCacheDir())
	}
	return xdg("XDG_CACHE_HOME", ".cache")
}

// StateDir returns the absolute path of the directory of stored bundles and flow runs: home or,
// when home is "", that of the XDG base directory specification.
func StateDir(home string) (string, error) {
	if home != "" {
		return filepath.Abs(home)
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return ofUser(os.UserConfigDir())
	}
	return xdg("XDG_STATE_HOME", ".local/state")
}

// xdg is a directory of the XDG base directory specification, by which a relative path in a
// variable is invalid and to be ignored.
func xdg(variable, below string) (string, error) {
	if dir := os.Getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "flowship"), nil
	}
	dir, err := os.UserHomeDir()
	return ofUser(filepath.Join(dir, below), err)
}

func ofUser(dir string, err error) (string, error) {
	if err != nil {
		return "", ErrNoHome
	}
	return filepath.Abs(filepath.Join(dir, "flowship"))
}

// databasePath is the file of flow runs in a state directory.
func databasePath(stateDir string) string { return filepath.Join(stateDir, "flowship.db") }
