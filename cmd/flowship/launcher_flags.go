package main

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/flowship/flowship/launch"
)

// launcherFlags say what stands before the commands of the steps, a token a flag, as Prefect's
// own command line has them.
type launcherFlags struct {
	shared, upload, execution launcherSide
}

// launcherSide is one executable with its arguments.
type launcherSide struct {
	flag       string // its name
	executable givenString
	arguments  []string
}

// givenString is a flag that may be given empty, which is not the same as leaving it out.
type givenString struct {
	value string
	given bool
}

func (s *givenString) String() string { return s.value }
func (s *givenString) Type() string   { return "string" }
func (s *givenString) Set(v string) error {
	s.value, s.given = v, true
	return nil
}

func (l *launcherFlags) register(flags *pflag.FlagSet) {
	l.shared.register(flags, "launcher", "the steps")
	l.upload.register(flags, "upload-launcher", "the upload step")
	l.execution.register(flags, "execution-launcher", "the execution step")
}

func (s *launcherSide) register(flags *pflag.FlagSet, name, steps string) {
	s.flag = "--" + name
	flags.Var(&s.executable, name, "run "+steps+" with this `EXECUTABLE`")
	flags.StringArrayVar(&s.arguments, name+"-arg", nil, "an argument `TOKEN` of --"+name+"; repeatable")
}

// launcher returns nil where none is asked for.
func (l *launcherFlags) launcher() (*launch.Launcher, error) {
	shared, err := l.shared.resolve(nil)
	if err != nil {
		return nil, err
	}
	upload, err := l.upload.resolve(shared)
	if err != nil {
		return nil, err
	}
	execution, err := l.execution.resolve(shared)
	if err != nil {
		return nil, err
	}
	if upload == nil && execution == nil {
		return nil, nil
	}
	return &launch.Launcher{Upload: upload, Execution: execution}, nil
}

// resolve returns the tokens of this side: its own executable does without the shared launcher,
// its arguments alone follow that.
func (s *launcherSide) resolve(shared []string) ([]string, error) {
	blank := func(token string) bool { return strings.TrimSpace(token) == "" }
	switch {
	case slices.ContainsFunc(s.arguments, blank):
		return nil, usagef("", "%s-arg cannot be empty.", s.flag)
	case s.executable.given && blank(s.executable.value):
		return nil, usagef("", "%s cannot be empty.", s.flag)
	case s.executable.given:
		return slices.Concat([]string{s.executable.value}, s.arguments), nil
	case len(s.arguments) > 0 && shared == nil && s.flag == "--launcher":
		return nil, usagef("", "--launcher-arg requires --launcher.")
	case len(s.arguments) > 0 && shared == nil:
		return nil, usagef("", "%s-arg requires %s or --launcher.", s.flag, s.flag)
	}
	return slices.Concat(shared, s.arguments), nil // nil when both are
}
