package processinfra

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// What the names of the directories begin with. One that is kept is never swept, not even when
// its program was killed.
const (
	runPrefix  = "flowship-run-"
	keptPrefix = "flowship-kept-"
)

const workDir = "work"

// makeDir makes the directory of a job, in use from its first moment as long as the lock is
// open anywhere.
func makeDir(parent string, keep bool) (dir string, lock *os.File, err error) {
	if keep {
		dir, err = os.MkdirTemp(parent, keptPrefix)
		return dir, nil, err
	}
	return claim(parent)
}

// discard removes a directory and then its lock. When the directory cannot be removed, the lock
// stays there for a later sweep, which tries again.
func discard(dir string, lock *os.File) error {
	defer lock.Close()
	if err := removeAll(dir); err != nil || lock == nil {
		return err
	}
	if err := os.Remove(lock.Name()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeAll also removes directories that the job made read-only.
func removeAll(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	filepath.WalkDir(dir, func(path string, e os.DirEntry, _ error) error {
		if e != nil && e.IsDir() {
			os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
