package prefect

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// editProfile returns the text of profiles.toml with another value for those of the settings that
// the profile has, or with the first of them if it has none. Every other byte stays. What cannot
// be changed like that is an error, because the result is read again and compared.
func editProfile(text, profile string, settings []string, value string) (string, error) {
	before, err := readProfiles(text)
	if err != nil {
		return "", err
	}
	if !utf8.ValidString(profile) || !utf8.ValidString(value) {
		return "", errors.New("not a text in UTF-8")
	}
	quoted := tomlString(value)
	changed, end := &strings.Builder{}, 0
	replaced := false
	place := -1 // behind the last setting of the profile's table
	for _, s := range statements(text) {
		if len(s.path) < 2 || s.path[0] != "profiles" || s.path[1] != profile {
			continue
		}
		if s.header && len(s.path) == 2 || !s.header && s.inTable && len(s.path) == 3 {
			place = s.next
		}
		if !s.header && len(s.path) == 3 && slices.Contains(settings, s.path[2]) {
			changed.WriteString(text[end:s.value])
			changed.WriteString(quoted)
			end, replaced = s.valueEnd, true
		}
	}
	changed.WriteString(text[end:])
	result := changed.String()
	if !replaced {
		result = addSetting(text, place, profile, settings[0]+" = "+quoted)
	}
	after, err := readProfiles(result)
	if err != nil || !differsOnlyIn(before, after, profile, settings, value) {
		return "", fmt.Errorf("the profile %q cannot be changed as it is written: set %s there", profile, settings[0])
	}
	return result, nil
}

// addSetting puts a line behind the place, or a table with it at the end where there is no place.
func addSetting(text string, place int, profile, line string) string {
	newline := "\n"
	if strings.Contains(text, "\r\n") {
		newline = "\r\n"
	}
	if place >= 0 {
		if place > 0 && text[place-1] != '\n' {
			line = newline + line
		}
		return text[:place] + line + newline + text[place:]
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += newline
	}
	if text != "" {
		text += newline
	}
	return text + "[profiles." + tomlKey(profile) + "]" + newline + line + newline
}

func readProfiles(text string) (map[string]any, error) {
	var table map[string]any
	if err := toml.Unmarshal([]byte(text), &table); err != nil {
		return nil, tomlError(err)
	}
	return table, nil
}

// differsOnlyIn reports whether after is before with the value for one of the settings at least,
// and for none of them another.
func differsOnlyIn(before, after map[string]any, profile string, settings []string, value string) bool {
	profiles, _ := after["profiles"].(map[string]any)
	values, _ := profiles[profile].(map[string]any)
	found := false
	for _, name := range settings {
		if v, ok := values[name]; ok {
			if v != value {
				return false
			}
			found = true
		}
	}
	return found && reflect.DeepEqual(without(before, profile, settings), without(after, profile, settings))
}

// without returns the tables without the settings of the profile, and without the profile when
// nothing else is in it.
func without(table map[string]any, profile string, settings []string) map[string]any {
	table = maps.Clone(table)
	profiles, ok := table["profiles"].(map[string]any)
	if !ok {
		return table
	}
	profiles = maps.Clone(profiles)
	if values, ok := profiles[profile].(map[string]any); ok {
		values = maps.Clone(values)
		for _, name := range settings {
			delete(values, name)
		}
		profiles[profile] = values
		if len(values) == 0 {
			delete(profiles, profile)
		}
	}
	table["profiles"] = profiles
	if len(profiles) == 0 {
		delete(table, "profiles")
	}
	return table
}

// tomlString writes a basic string.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// tomlKey writes a key, with quotes where it needs them.
func tomlKey(s string) string {
	bare := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !bare(r) }) < 0 {
		return s
	}
	return tomlString(s)
}
