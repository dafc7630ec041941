package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Settings say what kind of infrastructure a flow is to run on and with which job variables, as
// the flow runners of old: {"type": "subprocess", "config": {"virtualenv": ".venv"}}.
//
// The type universal has env; it fits every work pool. The type subprocess also has
// stream_output, virtualenv and condaenv; it fits process pools. Fields mean what the job
// variables of that name mean.
type Settings struct {
	Type   string
	Config map[string]any
}

const (
	universal  = "universal"
	subprocess = "subprocess"
)

// settingsTypes are the schemas of the types' fields.
var settingsTypes = map[string]string{
	universal: `{"properties": {"env": {"type": "object", "additionalProperties": {"type": "string"}}}}`,
	subprocess: `{"properties": {
		"env": {"type": "object", "additionalProperties": {"type": "string"}},
		"stream_output": {"type": "boolean"},
		"virtualenv": {"type": "string", "minLength": 1},
		"condaenv": {"type": "string", "minLength": 1}}}`,
}

// Check refuses types and fields that nobody knows, and values that do not fit.
func (s Settings) Check() error {
	if err := s.check(); err != nil {
		return fmt.Errorf("launch: settings: %w", err)
	}
	return nil
}

func (s Settings) check() error {
	source, ok := settingsTypes[s.Type]
	if !ok {
		return unknown("type", s.Type, Nearest(s.Type, maps.Keys(settingsTypes)))
	}
	object, err := decode([]byte(source))
	if err != nil {
		return err
	}
	fields, err := newSchema(object.(map[string]any))
	if err != nil {
		return err
	}
	config, err := toJSON(s.Config)
	if err != nil {
		return err
	}
	err = fields.check(config, true)
	var wrong *VariableError
	switch {
	case errors.As(err, &wrong) && wrong.Reason == "":
		return unknown(s.Type+" field", wrong.Name, wrong.Near)
	case errors.As(err, &wrong):
		return fmt.Errorf("%s field %q: %s", s.Type, wrong.Name, wrong.Reason)
	case err != nil:
		return err
	case config["virtualenv"] != nil && config["condaenv"] != nil:
		return errors.New("virtualenv and condaenv exclude each other")
	}
	return nil
}

func unknown(what, name, near string) error {
	if near != "" {
		return fmt.Errorf("unknown %s %q: did you mean %q?", what, name, near)
	}
	return fmt.Errorf("unknown %s %q", what, name)
}

// UnmarshalJSON implements [json.Unmarshaler]. What it reads has passed [Settings.Check].
func (s *Settings) UnmarshalJSON(source []byte) error {
	v, err := decode(source)
	if err != nil {
		return fmt.Errorf("launch: settings: %w", err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return errors.New("launch: settings: they are not an object")
	}
	var read Settings
	for _, name := range slices.Sorted(maps.Keys(object)) {
		value := object[name]
		switch name {
		case "type":
			read.Type, ok = value.(string)
		case "config":
			read.Config, ok = value.(map[string]any)
			ok = ok || value == nil
		default:
			return fmt.Errorf("launch: settings: %w", unknown("member", name, Nearest(name, slices.Values([]string{"type", "config"}))))
		}
		if !ok {
			return fmt.Errorf("launch: settings: the %s does not fit", name)
		}
	}
	if err := read.Check(); err != nil {
		return err
	}
	*s = read
	return nil
}

// MarshalJSON implements [json.Marshaler].
func (s Settings) MarshalJSON() ([]byte, error) {
	config := s.Config
	if config == nil {
		config = map[string]any{}
	}
	return json.Marshal(struct {
		Type   string         `json:"type"`
		Config map[string]any `json:"config"`
	}{s.Type, config})
}

// JobVariables returns the job variables that the settings amount to.
func (s Settings) JobVariables() map[string]any {
	variables := make(map[string]any, len(s.Config))
	for name, value := range s.Config {
		if value != nil {
			variables[name] = value
		}
	}
	return variables
}

// Fits says whether runs with these settings can be launched by work pools of that type.
func (s Settings) Fits(poolType string) error {
	if s.Type == universal || s.Type == poolType || s.Type == subprocess && poolType == "process" {
		return nil
	}
	return fmt.Errorf("launch: settings of type %q do not fit a work pool of type %q", s.Type, poolType)
}
