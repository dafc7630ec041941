package execute

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

var (
	// ErrNoPython: there is no interpreter to run a Python flow with.
	ErrNoPython = errors.New("no Python interpreter")
	// ErrPrefectAPI: the environment names a Prefect server, to which this package cannot
	// report a flow of Python.
	ErrPrefectAPI = errors.New("PREFECT_API_URL is set: Python flows are run on their own, without a Prefect server")
)

// EnvPython names the interpreter for Python flows: a path, or a name to seek in PATH. Without
// it, it is python3 or else python.
const EnvPython = "FLOWSHIP_PYTHON"

// runner is the program that calls the function. It needs nothing but Python 3.9 or later.
//
//go:embed runner.py
var runner []byte

// findPython finds the interpreter before anything is run, for without one there is no run.
func (x *execution) findPython() error {
	if variable(x.Environ, "PREFECT_API_URL") != "" {
		return ErrPrefectAPI
	}
	if file, _, ok := strings.Cut(x.document.Flowship.Entrypoint, ".py:"); !ok || !filepath.IsLocal(file) {
		return x.refuse(fmt.Sprintf("its entrypoint %q is not of the form path/flow.py:name", x.document.Flowship.Entrypoint))
	}
	return x.findInterpreter()
}

func (x *execution) findInterpreter() error {
	names := []string{"python3", "python"}
	if named := variable(x.Environ, EnvPython); named != "" {
		names = []string{named}
	}
	for _, name := range names {
		path, err := lookUp(name, x.Dir, x.Environ)
		if err == nil {
			x.executable = path
			return nil
		}
		if len(names) == 1 {
			return fmt.Errorf("%w: %q, which %s names, is not there or cannot be run", ErrNoPython, name, EnvPython)
		}
	}
	return fmt.Errorf("%w: neither %q nor %q is in PATH", ErrNoPython, names[0], names[1])
}

// pythonProgram is the interpreter with the runner.
func (x *execution) pythonProgram(dir string) (*program, *ending) {
	script := filepath.Join(dir, "runner.py")
	if err := os.WriteFile(script, runner, 0o600); err != nil {
		return nil, failed(exitFailed, "the runner: %v", err)
	}
	// Unbuffered: what is printed is to be seen when it is, and in its order.
	return flowProgram(dir, x.executable, []string{x.executable, "-u", script, x.document.Flowship.Entrypoint}), nil
}
