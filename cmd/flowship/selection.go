package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flowship/flowship/bundle"
)

// selection are the flags that say which files travel.
type selection struct {
	include []string
	dir     string
	code    string
}

func (s *selection) register(flags *pflag.FlagSet) {
	flags.StringArrayVar(&s.include, "include", nil, "files to pack: a file, a directory or a `PATTERN`; in order, ! negates; repeatable")
	flags.StringVar(&s.dir, "dir", "", "the `DIR` that patterns are relative to (default: the flow's, else the current one)")
	flags.StringVar(&s.code, "code", "imports", "what of a python flow's source to pack: `WHAT` is imports (its file and the local modules that it imports) or none")
}

// target is what the command line wants called, and where its files are.
type target struct {
	base       string
	program    string            // directory of a Go flow's package main
	invocation bundle.Invocation // Runtime is "" when the command line names nothing to call
	collect    *bundle.CollectOptions
}

// splitArgs takes the arguments before and after "--" apart.
func splitArgs(cmd *cobra.Command, args []string) (before, command []string, err error) {
	at := cmd.ArgsLenAtDash()
	if at < 0 {
		return args, nil, nil
	}
	if at == len(args) {
		return nil, nil, usagef("", "no command after --")
	}
	return args[:at], args[at:], nil
}

// target reads [ENTRYPOINT] [-- COMMAND...].
func (s *selection) target(cmd *cobra.Command, args []string) (*target, error) {
	before, command, err := splitArgs(cmd, args)
	if err != nil {
		return nil, err
	}
	switch {
	case len(before) > 1:
		return nil, usagef("put -- before a command and its arguments", "unexpected argument %q", before[1])
	case len(before) == 1 && command != nil:
		return nil, usagef("", "both an ENTRYPOINT (%q) and a COMMAND", before[0])
	case len(before) == 1:
		return s.entrypoint(before[0])
	}
	t, err := s.files()
	if err != nil {
		return nil, err
	}
	if command != nil {
		t.invocation.Runtime = bundle.RuntimeExec
		t.invocation.Command = command
	}
	return t, nil
}

// files is the target of a command line that names no ENTRYPOINT.
func (s *selection) files() (*target, error) {
	if s.code != "imports" && s.code != "none" {
		return nil, usagef("", "unknown value %q of --code: want imports or none", s.code)
	}
	t := &target{base: s.dir, collect: &bundle.CollectOptions{}}
	if t.base == "" {
		t.base = "."
	}
	return t, nil
}

// flowName is what can name a flow in a Python file.
var flowName = regexp.MustCompile(`^[\pL_][\pL\pN_.]*$`)

const entrypointForm = "an ENTRYPOINT is path/flow.py:name or, for Go, path/dir:name; a command comes after --"

// entrypoint reads an ENTRYPOINT, which names a file or a directory and what in it is called.
func (s *selection) entrypoint(arg string) (*target, error) {
	t, err := s.files()
	if err != nil {
		return nil, err
	}
	at := strings.LastIndexByte(arg, ':')
	if at <= 0 {
		return nil, usagef(entrypointForm, "%q is not an ENTRYPOINT", arg)
	}
	file, name := arg[:at], arg[at+1:]
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &bundle.Error{Kind: bundle.KindNotFound, Path: file, Reason: "the flow file", Err: err}
	case err != nil:
		return nil, &bundle.Error{Kind: bundle.KindUnreadable, Path: file, Err: err}
	case info.IsDir():
		return s.goEntrypoint(t, file, file, name)
	case strings.HasSuffix(file, ".go"):
		return s.goEntrypoint(t, filepath.Dir(file), file, name)
	case !strings.HasSuffix(file, ".py"):
		return nil, usagef(entrypointForm, "%q is neither a Python file nor a Go program", file)
	case !flowName.MatchString(name):
		return nil, usagef(entrypointForm, "%q is not an ENTRYPOINT", arg)
	}
	if s.dir == "" {
		t.base = filepath.Dir(file)
	}
	rel, err := bundle.Below(t.base, file)
	if err != nil {
		return nil, err
	}
	t.invocation.Runtime = bundle.RuntimePython
	t.invocation.Entrypoint = rel + ":" + name
	if s.code != "none" {
		t.collect.Entrypoint = t.invocation.Entrypoint
	}
	return t, nil
}

// goEntrypoint is the flow of a Go program, whose package main is in dir. Whether there is such a
// flow, the program knows.
func (s *selection) goEntrypoint(t *target, dir, file, name string) (*target, error) {
	if strings.TrimSpace(name) == "" {
		return nil, usagef(entrypointForm, "%q names no flow", file+":"+name)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, &bundle.Error{Kind: bundle.KindUnreadable, Path: dir, Err: err}
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), ".go") }) {
		return nil, usagef(entrypointForm, "%q holds no Go program", dir)
	}
	if s.dir == "" {
		t.base = dir
	}
	t.program = dir
	t.invocation.Runtime = bundle.RuntimeGo
	t.invocation.Entrypoint = documented(file) + ":" + name
	return t, nil
}

// documented is how a document names the source of a program: as it was written, but without the
// directories of this machine.
func documented(file string) string {
	if filepath.IsAbs(file) {
		file = filepath.Base(file)
	}
	return filepath.ToSlash(filepath.Clean(file))
}
