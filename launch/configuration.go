package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Common is what the job configurations of all types of infrastructure have. A driver embeds it
// in the struct that it gives to [Job.Configure].
type Common struct {
	Name    string             `json:"name"`
	Env     map[string]*string `json:"env"` // nil is a variable that the job does not get
	Labels  map[string]string  `json:"labels"`
	Command string             `json:"command"` // a line for [Split]
}

// Configure reads the job's configuration into a struct. Null leaves a field as it is, and what
// the struct does not have is ignored, as Prefect's workers do.
func (j *Job) Configure(into any) error {
	source, err := json.Marshal(j.Configuration)
	if err != nil {
		return fmt.Errorf("the job configuration: %w", err)
	}
	err = json.Unmarshal(source, into)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("the job configuration %q: want %s, got %s", wrong.Field, wrong.Type, wrong.Value)
	}
	if err != nil {
		return fmt.Errorf("the job configuration: %w", err)
	}
	return nil
}

// Environment returns the variables that the job gets beside those of its platform, each once,
// and the names of those that it is not to have. The job's own win over the configuration's.
func (j *Job) Environment(configured map[string]*string) (set, unset []string, err error) {
	all := maps.Clone(configured)
	if all == nil {
		all = map[string]*string{}
	}
	for _, v := range j.Env {
		name, value, _ := strings.Cut(v, "=")
		all[name] = &value
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		value := all[name]
		if name == "" || strings.ContainsAny(name, "=\x00") || value != nil && strings.ContainsRune(*value, 0) {
			return nil, nil, fmt.Errorf("the environment variable %q cannot be set", name)
		}
		if value == nil {
			unset = append(unset, name)
		} else {
			set = append(set, name+"="+*value)
		}
	}
	return set, unset, nil
}

// Argv returns what to run: the configured line, taken apart by split, or else [Job.Command].
// A driver that has no rules of its own gives [Split].
func (j *Job) Argv(line string, split func(string) ([]string, error)) ([]string, error) {
	words, err := split(line)
	if err != nil {
		return nil, fmt.Errorf("the command %q: %w", line, err)
	}
	if len(words) == 0 {
		words = j.Command
	}
	if len(words) == 0 || words[0] == "" {
		return nil, errors.New("the job has no command")
	}
	return words, nil
}
