package execute

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/flowship/flowship/submit/orchestrator"
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
	names := []string{"python3", "python"}
	if named := variable(x.Environ, EnvPython); named != "" {
		names = []string{named}
	}
	for _, name := range names {
		path, err := lookUp(name, x.Dir, x.Environ)
		if err == nil {
			x.interpreter = path
			return nil
		}
		if len(names) == 1 {
			return fmt.Errorf("%w: %q, which %s names, is not there or cannot be run", ErrNoPython, name, EnvPython)
		}
	}
	return fmt.Errorf("%w: neither %q nor %q is in PATH", ErrNoPython, names[0], names[1])
}

// pythonProgram is the interpreter with the runner.
func (x *execution) pythonProgram() (*program, *ending) {
	script, failure := filepath.Join(x.scratch, "runner.py"), filepath.Join(x.scratch, "failure")
	if err := os.WriteFile(script, runner, 0o600); err != nil {
		return nil, failed(exitFailed, "the runner: %v", err)
	}
	p := &program{
		noun: "flow",
		path: x.interpreter,
		// Unbuffered: what is printed is to be seen when it is, and in its order.
		argv: []string{x.interpreter, "-u", script, x.document.Flowship.Entrypoint},
		env:  []string{"FLOWSHIP_FAILURE=" + failure},
	}
	p.end = func(code int, result json.RawMessage, err error) *ending {
		return pythonEnd(failure, code, result, err)
	}
	return p, nil
}

// pythonEnd: the runner says why the function did not return. If it says nothing, somebody
// ended the process behind its back.
func pythonEnd(failure string, code int, result json.RawMessage, err error) *ending {
	if why, ok := readFailure(failure); ok {
		return failed(exitFailed, "%s", why)
	}
	switch {
	case err != nil:
		return failed(exitFailed, "the result that the flow returned %v", err)
	case result == nil:
		message := fmt.Sprintf("the flow ended its process before it returned, exit code %d", code)
		return &ending{State: orchestrator.NewState(orchestrator.TypeCrashed, message), code: exitFailed}
	case code != 0:
		message := fmt.Sprintf("the flow ended its process when it had returned, exit code %d", code)
		return &ending{State: orchestrator.NewState(orchestrator.TypeCrashed, message), code: exitFailed}
	}
	return &ending{State: orchestrator.NewState(orchestrator.TypeCompleted, ""), result: result}
}

// maxFailure is the most bytes of an exception's text that a state takes.
const maxFailure = 4 << 10

func readFailure(path string) (string, bool) {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return "", false
	}
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFailure+1))
	if err != nil {
		return "", false
	}
	why := strings.ToValidUTF8(string(text[:min(len(text), maxFailure)]), "")
	if len(text) > maxFailure {
		why += "…"
	}
	return why, true
}
