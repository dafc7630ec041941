package prefect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// defaultPoolSettings are the names of the setting that says which work pool is the default. The
// first one wins, and is what Prefect writes.
var defaultPoolSettings = []string{"PREFECT_DEPLOYMENTS_DEFAULT_WORK_POOL_NAME", "PREFECT_DEFAULT_WORK_POOL_NAME"}

// defaultWorkPool notes what the first place says that says anything. The last place is the
// profile, unless that counts for nothing.
func (d *discovery) defaultWorkPool() {
	const profile = 4
	for i, source := range d.sources {
		for _, name := range defaultPoolSettings {
			if value, ok := source[name]; ok {
				d.settings.DefaultWorkPool, d.settings.poolFixed = strings.TrimSpace(value), i != profile
				return
			}
		}
	}
}

// chosenPool is the name of the default work pool, as far as this client chose it.
type chosenPool struct {
	mu     sync.Mutex
	name   string
	chosen bool
}

// defaultWorkPool is the name of the work pool that is the default, or "".
func (c *Client) defaultWorkPool() string {
	c.chosen.mu.Lock()
	defer c.chosen.mu.Unlock()
	if c.chosen.chosen {
		return c.chosen.name
	}
	return c.settings.DefaultWorkPool
}

// chooseDefaultWorkPool writes the name into the active profile.
func (c *Client) chooseDefaultWorkPool(name string) error {
	c.chosen.mu.Lock()
	defer c.chosen.mu.Unlock()
	s := c.settings
	switch {
	case s.ProfilesFile == "":
		return errors.New("there is no place for Prefect's profiles: neither PREFECT_HOME nor a home directory is known")
	case s.poolFixed && s.DefaultWorkPool != name:
		return fmt.Errorf("%s is set to %q where it wins over the profile: in the environment, or in .env, prefect.toml or pyproject.toml of this directory",
			defaultPoolSettings[1], s.DefaultWorkPool)
	}
	profile := s.Profile
	if profile == "" {
		profile = defaultProfile
	}
	if err := changeProfile(s.ProfilesFile, profile, defaultPoolSettings, name); err != nil {
		return err
	}
	c.chosen.name, c.chosen.chosen = name, true
	return nil
}

// changeProfile sets the value of those of the settings that the profile has in the file, or of
// the first of them if it has none, and leaves all else in the file as it is.
func changeProfile(path, profile string, settings []string, value string) error {
	// A link stays one: what it leads to is replaced.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := readSettings(path)
	if err != nil {
		return err
	}
	changed, err := editProfile(string(text), profile, settings, value)
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	if changed == string(text) && text != nil {
		return nil
	}
	return replaceFile(path, changed)
}

// replaceFile writes the file, which may hold secrets, aside and gives it its name when it is
// whole.
func replaceFile(path, text string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".profiles-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // in vain when all went well
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
