package launch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"slices"
	"strings"
)

// Step is one of the two steps of a work pool's storage configuration: a Python module that
// uploads a bundle, or fetches and executes it.
//
//	{"prefect_aws.experimental.bundles.upload": {"bucket": "b", "requires": "prefect-aws"}}
type Step struct {
	Module string
	// Requires are the packages that uv installs for the module; not together with a launcher.
	Requires []string
	// Launcher are the first words of the command line; nil is uv run.
	Launcher []string
	// Options are those of the module, in their order.
	Options []StepOption
}

// StepOption is an option of a step's module. Its name is as in JSON, with underscores.
type StepOption struct{ Name, Value string }

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Step) UnmarshalJSON(source []byte) error {
	read, err := parseStep(source)
	if err != nil {
		return fmt.Errorf("launch: step: %w", err)
	}
	*s = *read
	return nil
}

func parseStep(source []byte) (*Step, error) {
	modules, err := members(source)
	if err != nil {
		return nil, err
	}
	if len(modules) != 1 {
		return nil, errors.New("expected exactly one function in step")
	}
	s := &Step{Module: modules[0].name}
	arguments, err := members(modules[0].value)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", s.Module, err)
	}
	for _, a := range arguments {
		v, err := decode(a.value)
		if err != nil {
			return nil, err
		}
		switch text, isText := v.(string); {
		case a.name == "requires":
			s.Requires, err = requirements(v)
		case a.name == "launcher" && v == nil:
			s.Launcher = nil
		case a.name == "launcher":
			s.Launcher, err = stepLauncher(v)
		case !isText:
			err = fmt.Errorf("the option %q is not a string", a.name)
		default:
			s.set(a.name, text)
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// set keeps the first place of an option that is given twice, and the last value, as Python does.
func (s *Step) set(name, value string) {
	for i := range s.Options {
		if s.Options[i].Name == name {
			s.Options[i].Value = value
			return
		}
	}
	s.Options = append(s.Options, StepOption{name, value})
}

// stepLauncher is only read here: a flow's launcher may take its place before anything is checked.
func stepLauncher(v any) ([]string, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, checkLauncher("launcher", nil)
	}
	words, _ := launcherWords("launcher", list)
	return words, nil
}

func requirements(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var texts []string
		for _, e := range v {
			text, ok := e.(string)
			if !ok {
				return nil, errors.New("requires must be a string or a list of strings")
			}
			texts = append(texts, text)
		}
		return texts, nil
	}
	return nil, errors.New("requires must be a string or a list of strings")
}

func (s *Step) check() error {
	if s.Launcher != nil {
		if err := checkLauncher("launcher", s.Launcher); err != nil {
			return err
		}
		if len(s.Requires) > 0 {
			return errors.New("the launcher cannot be combined with requires")
		}
	}
	for _, o := range s.Options {
		if slug(o.Name) == "" {
			return fmt.Errorf("%q is not the name of an option", o.Name)
		}
	}
	return nil
}

// MarshalJSON implements [json.Marshaler].
func (s Step) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	write := func(name string, value any) error {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		for i, v := range []any{name, value} {
			encoded, err := json.Marshal(v)
			if err != nil {
				return err
			}
			if i > 0 {
				b.WriteByte(':')
			}
			b.Write(encoded)
		}
		return nil
	}
	b.WriteByte('{')
	for _, o := range s.Options {
		if err := write(o.Name, o.Value); err != nil {
			return nil, err
		}
	}
	switch len(s.Requires) {
	case 0:
	case 1: // as Prefect's own command line writes it
		if err := write("requires", s.Requires[0]); err != nil {
			return nil, err
		}
	default:
		if err := write("requires", s.Requires); err != nil {
			return nil, err
		}
	}
	if s.Launcher != nil {
		if err := write("launcher", s.Launcher); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return json.Marshal(map[string]json.RawMessage{s.Module: b.Bytes()})
}

// With returns the step with a flow's launcher for its side, which stands in place of the step's
// own and of what it requires. With nil it is the same step.
func (s Step) With(launcher []string) Step {
	if launcher == nil {
		return s
	}
	s.Launcher, s.Requires = slices.Clone(launcher), nil
	return s
}

// StepOptions are the options of [Step.Command]; nil is the default. They matter only where
// there is no launcher.
type StepOptions struct {
	Quiet   bool   // uv is to say nothing, as it is when uploading
	Python  string // version of the interpreter, such as "3.12"; "" leaves the choice to uv
	Prefect string // version that what is required is pinned to; "" pins nothing
}

// Command returns the command line of the step for the bundle of that key, as Prefect makes it.
// For an upload, the path of the file follows.
func (s Step) Command(key string, opts *StepOptions) ([]string, error) {
	if opts == nil {
		opts = &StepOptions{}
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("launch: step %q: %w", s.Module, err)
	}
	command := slices.Clone(s.Launcher)
	if s.Launcher == nil {
		command = []string{"uv", "run"}
		if opts.Quiet {
			command = append(command, "--quiet")
		}
		if len(s.Requires) > 0 {
			command = append(command, "--with", strings.Join(pin(s.Requires, opts.Prefect), ","))
		}
		if opts.Python != "" {
			command = append(command, "--python", opts.Python)
		}
	}
	command = append(command, "-m", s.Module)
	for _, o := range s.Options {
		command = append(command, "--"+slug(o.Name), o.Value)
	}
	return append(command, "--key", key), nil
}

// slug is the name of an option on a command line. Letters other than those of ASCII, which
// Prefect would transliterate, separate words here.
func slug(name string) string {
	name = strings.ToLower(html.UnescapeString(strings.ReplaceAll(name, "'", "-")))
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z' || isDigit(c):
			b.WriteByte(c)
		case c == ',' && i > 0 && i+1 < len(name) && isDigit(name[i-1]) && isDigit(name[i+1]):
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.TrimSuffix(b.String(), "-")
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
