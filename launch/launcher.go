package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Launcher is what a flow's steps are started with in place of what its work pool says: the
// first words of a command line, such as {"poetry", "run", "python"}. A side that is nil stays
// as the pool has it. Its rules are Prefect's.
//
// In JSON it is null, a list for both sides, an object with one or both of "upload" and
// "execution", or, which only flowship takes, a string for a list of one.
type Launcher struct {
	Upload    []string
	Execution []string
}

// The names of the sides, in JSON.
const (
	uploadSide    = "upload"
	executionSide = "execution"
)

// Check says whether a process can be started with the sides that are given.
func (l *Launcher) Check() error {
	for _, side := range []struct {
		name  string
		words []string
	}{{uploadSide, l.Upload}, {executionSide, l.Execution}} {
		if side.words != nil {
			if err := checkLauncher(sideField(side.name), side.words); err != nil {
				return fmt.Errorf("launch: %w", err)
			}
		}
	}
	return nil
}

func sideField(side string) string { return "launcher['" + side + "']" }

func checkLauncher(field string, words []string) error {
	if len(words) == 0 {
		return fmt.Errorf("%s must be a non-empty list[str]", field)
	}
	for i, word := range words {
		if strings.TrimSpace(word) == "" {
			return fmt.Errorf("%s[%d] must be a non-empty string", field, i)
		}
	}
	return nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (l *Launcher) UnmarshalJSON(source []byte) error {
	v, err := decode(source)
	if err != nil {
		return fmt.Errorf("launch: launcher: %w", err)
	}
	read, err := launcherOf(v)
	if err != nil {
		return fmt.Errorf("launch: %w", err)
	}
	*l = read
	return nil
}

func launcherOf(v any) (Launcher, error) {
	switch v := v.(type) {
	case nil:
		return Launcher{}, nil
	case string:
		words, err := launcherWords("launcher", []any{v})
		if err != nil {
			return Launcher{}, errors.New("launcher must be a non-empty string")
		}
		return Launcher{Upload: words, Execution: slices.Clone(words)}, nil
	case []any:
		words, err := launcherWords("launcher", v)
		return Launcher{Upload: words, Execution: slices.Clone(words)}, err
	case map[string]any:
		return launcherSides(v)
	}
	return Launcher{}, errors.New("launcher must be a list[str] or a mapping with 'upload'/'execution' keys")
}

func launcherSides(sides map[string]any) (Launcher, error) {
	var others []string
	for _, name := range slices.Sorted(maps.Keys(sides)) {
		if name != uploadSide && name != executionSide {
			others = append(others, quote(name))
		}
	}
	if len(others) > 0 {
		return Launcher{}, fmt.Errorf("launcher may only specify 'upload' and 'execution'; got [%s]", strings.Join(others, ", "))
	}
	if len(sides) == 0 {
		return Launcher{}, errors.New("launcher must specify at least one of 'upload' or 'execution'")
	}
	var l Launcher
	var err error
	if v, ok := sides[uploadSide]; ok {
		if l.Upload, err = launcherWords(sideField(uploadSide), v); err != nil {
			return Launcher{}, err
		}
	}
	if v, ok := sides[executionSide]; ok {
		if l.Execution, err = launcherWords(sideField(executionSide), v); err != nil {
			return Launcher{}, err
		}
	}
	return l, nil
}

// launcherWords checks a JSON value that is to be the words of one launcher.
func launcherWords(field string, v any) ([]string, error) {
	list, _ := v.([]any)
	words := make([]string, len(list))
	for i, e := range list {
		words[i], _ = e.(string) // anything else is as wrong as an empty one
	}
	return words, checkLauncher(field, words)
}

// MarshalJSON implements [json.Marshaler]. It writes the sides that are given, or null.
func (l Launcher) MarshalJSON() ([]byte, error) {
	if l.Upload == nil && l.Execution == nil {
		return []byte("null"), nil
	}
	return json.Marshal(struct {
		Upload    []string `json:"upload,omitempty"`
		Execution []string `json:"execution,omitempty"`
	}{l.Upload, l.Execution})
}
