package prefect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
)

// toml reads the settings in a file of the directory, in the table at the path.
func (d *discovery) toml(name string, path []string) (map[string]string, error) {
	text, err := readSettings(filepath.Join(d.dir, name))
	if err != nil || text == nil {
		return nil, err
	}
	var table map[string]any
	if err := toml.Unmarshal(text, &table); err != nil {
		return nil, fmt.Errorf("%q: %w", name, tomlError(err))
	}
	for _, step := range path {
		table, _ = table[step].(map[string]any)
	}
	values := map[string]string{}
	flatten(values, prefix, table)
	return values, nil
}

// maxSettings is the size in bytes of the largest file of settings.
const maxSettings = 4 << 20

// readSettings returns nil where there is no such file.
func readSettings(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%q is not a regular file", path)
	case info.Size() > maxSettings:
		return nil, fmt.Errorf("%q has %d bytes, more than %d", path, info.Size(), maxSettings)
	}
	return os.ReadFile(path)
}

// tomlError says where the text is wrong, not what stands there: it may be a secret.
func tomlError(err error) error {
	if p, ok := errors.AsType[toml.ParseError](err); ok {
		return fmt.Errorf("line %d is not valid TOML", p.Position.Line)
	}
	return errors.New("is not valid TOML")
}

// flatten names values as the environment does: api.url is PREFECT_API_URL. A table is there
// under its own name as well, for settings that are tables.
func flatten(into map[string]string, name string, table map[string]any) {
	for key, value := range table {
		full := name + strings.ToUpper(key)
		if text, ok := settingText(value); ok {
			into[full] = text
		}
		if sub, ok := value.(map[string]any); ok {
			flatten(into, full+"_", sub)
		}
	}
}

// settingText is the form that a value has in the environment.
func settingText(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case map[string]any, []any:
		text, err := json.Marshal(v)
		return string(text), err == nil
	case bool, int64, float64:
		return fmt.Sprint(v), true
	}
	return "", false
}

// packaged are the profiles that Prefect brings with it.
func packaged() map[string]map[string]string {
	return map[string]map[string]string{
		"ephemeral": {},
		"local":     {"PREFECT_API_URL": "http://127.0.0.1:4200/api"},
		"cloud":     {},
		"test":      {},
	}
}

const defaultProfile = "ephemeral"

// profile returns the values of the active profile.
func (d *discovery) profile(name string) (map[string]string, error) {
	profiles := packaged()
	active := d.profiles(profiles)
	asked := name
	if asked == "" {
		asked = d.sources[0]["PREFECT_PROFILE"]
	}
	if asked != "" {
		active = asked
	}
	if active == "" {
		active = defaultProfile
	}
	values, ok := profiles[active]
	switch {
	case !ok && name != "":
		return nil, fmt.Errorf("there is no profile %q", name)
	case !ok:
		d.warn("there is no profile %q: the default profile %q is used", active, defaultProfile)
		active = defaultProfile
		values = profiles[active]
	}
	d.settings.Profile = active
	return values, nil
}

// profiles lays the user's profiles over the packaged ones, and returns the name of the one that
// the file calls active. A file that cannot be read counts for nothing, as with Prefect.
func (d *discovery) profiles(into map[string]map[string]string) (active string) {
	path := d.profilesPath()
	if path == "" {
		return ""
	}
	text, err := readSettings(path)
	var file struct {
		Active   string                    `toml:"active"`
		Profiles map[string]map[string]any `toml:"profiles"`
	}
	if err == nil && text != nil {
		if err = toml.Unmarshal(text, &file); err != nil {
			err = fmt.Errorf("%q: %w", path, tomlError(err))
		}
	}
	if err != nil {
		d.warn("the profiles are not used: %v", err)
		return ""
	}
	for name, profile := range file.Profiles {
		values := maps.Clone(into[name])
		if values == nil {
			values = map[string]string{}
		}
		for key, value := range profile {
			if text, ok := settingText(value); ok {
				values[strings.ToUpper(key)] = text
			}
		}
		into[name] = values
	}
	return file.Active
}

func (d *discovery) profilesPath() string {
	if path := d.text("PREFECT_PROFILES_PATH"); path != "" {
		return d.expand(path)
	}
	if home := d.sources[0]["PREFECT_HOME"]; home != "" { // no file may say it
		return filepath.Join(d.expand(home), "profiles.toml")
	}
	if home := d.home(); home != "" {
		return filepath.Join(home, ".prefect", "profiles.toml")
	}
	return ""
}
