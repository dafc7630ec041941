package execute

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/orchestrator"
)

// checkProgram refuses the program of a Go flow that cannot be run here.
func (x *execution) checkProgram() error {
	f := x.document.Flowship
	if goFlow(f.Entrypoint) == "" {
		return x.refuse(fmt.Sprintf("its entrypoint %q is not of the form path/dir:name", f.Entrypoint))
	}
	if f.Program.OS != runtime.GOOS || f.Program.Arch != runtime.GOARCH {
		return x.refuse(fmt.Sprintf("its program is for %s/%s, and this is %s/%s", f.Program.OS, f.Program.Arch, runtime.GOOS, runtime.GOARCH))
	}
	if _, err := bundle.ParseProgramKey(f.Program.Key); err != nil {
		return x.refuse(fmt.Sprintf("its program %q: %v", f.Program.Key, err))
	}
	return nil
}

// goFlow is the name of the flow in the entrypoint of a Go flow, or "".
func goFlow(entrypoint string) string {
	i := strings.LastIndexByte(entrypoint, ':')
	if i < 0 {
		return ""
	}
	return entrypoint[i+1:]
}

// fetchProgram gets the program of a Go flow.
func (x *execution) fetchProgram(ctx context.Context) error {
	p := x.document.Flowship.Program
	digest, err := bundle.ParseProgramKey(p.Key)
	if err != nil {
		return err
	}
	x.executable = filepath.Join(x.scratch, "program")
	if runtime.GOOS == "windows" {
		x.executable += ".exe"
	}
	if err := x.fetch(ctx, p.Key, x.executable, digest, "the stored program is not the one that the document names"); err != nil {
		return err
	}
	return os.Chmod(x.executable, 0o700)
}

// goProgram is the program of a Go flow, which knows by its environment what to do.
func (x *execution) goProgram(dir string) *program {
	name := goFlow(x.document.Flowship.Entrypoint)
	p := flowProgram(dir, x.executable, []string{x.executable})
	p.env = append(p.env, "FLOWSHIP_FLOW="+name)
	return p
}

// flowProgram is a program that tells how its flow went: a result, or a failure.
func flowProgram(dir, path string, argv []string) *program {
	failure := filepath.Join(dir, "failure")
	p := &program{noun: "flow", path: path, argv: argv, env: []string{"FLOWSHIP_FAILURE=" + failure}}
	p.end = func(code int, result json.RawMessage, err error) *ending {
		return flowEnd(failure, code, result, err)
	}
	return p
}

// flowEnd: a flow says why it did not return. If it says nothing, somebody ended the process
// behind its back.
func flowEnd(failure string, code int, result json.RawMessage, err error) *ending {
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
