package execute

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxVariable keeps a variable below the 128 KiB that Linux allows for one.
const maxVariable = 96 << 10

// foreignVariables are for the executor alone, or may be left of a run that this one is part of.
var foreignVariables = []string{
	"FLOWSHIP_EXECUTES", "FLOWSHIP_LEASE", "FLOWSHIP_STATE", "FLOWSHIP_SCRATCH", "FLOWSHIP_STOP", "FLOWSHIP_WATCHED",
	"FLOWSHIP_PARAMETERS", "FLOWSHIP_FLOW", "FLOWSHIP_CHECK", "FLOWSHIP_FAILURE", "FLOWSHIP_LOGS",
}

// environ is the command's environment; it writes the parameters' file to dir.
func (x *execution) environ(dir, result string) ([]string, error) {
	parameters := x.document.Parameters()
	file := filepath.Join(dir, "parameters.json")
	if err := os.WriteFile(file, parameters, 0o600); err != nil {
		return nil, err
	}
	env := x.ownEnviron()
	if len(parameters) <= maxVariable {
		env = append(env, "FLOWSHIP_PARAMETERS="+string(parameters))
	}
	return append(env,
		"FLOWSHIP_PARAMETERS_FILE="+file,
		"FLOWSHIP_RESULT="+result,
		"FLOWSHIP_FLOW_RUN_ID="+x.FlowRunID,
		"PREFECT__FLOW_RUN_ID="+x.FlowRunID,
		"PWD="+x.Dir,
	), nil
}

// ownEnviron is the environment without what is not the command's.
func (x *execution) ownEnviron() []string {
	return slices.DeleteFunc(slices.Clone(x.Environ), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(foreignVariables, name)
	})
}

// lookUp finds the program as a shell in dir would: a name with a slash is a path, another one
// is sought in PATH.
func lookUp(name, dir string, env []string) (string, error) {
	if strings.ContainsFunc(name, func(r rune) bool { return r < utf8.RuneSelf && os.IsPathSeparator(uint8(r)) }) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return exec.LookPath(name)
	}
	err := error(exec.ErrNotFound)
	for _, d := range filepath.SplitList(variable(env, "PATH")) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		found, e := exec.LookPath(filepath.Join(d, name))
		if e == nil {
			return found, nil
		}
		if errors.Is(e, fs.ErrPermission) {
			err = e
		}
	}
	return "", err
}

// variable returns the value that a program finds for the name: the last one.
func variable(env []string, name string) (value string) {
	for _, v := range env {
		if n, text, _ := strings.Cut(v, "="); n == name || runtime.GOOS == "windows" && strings.EqualFold(n, name) {
			value = text
		}
	}
	return value
}
