package execute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/orchestrator"
)

// ending is how a run ended.
type ending struct {
	orchestrator.State
	code   int
	result json.RawMessage
	said   bool // by the program itself, with its exit code
}

func failed(code int, format string, args ...any) *ending {
	return &ending{State: orchestrator.NewState(orchestrator.TypeFailed, fmt.Sprintf(format, args...)), code: code}
}

// What shells end with when they cannot run a command.
const (
	codeNotExecutable = 126
	codeNotFound      = 127
)

// program is what the document's runtime has the executor start.
type program struct {
	noun string   // what messages call it
	path string   // the executable
	argv []string // with its name
	env  []string // variables beside those that every program finds
	code bool     // its exit code is that of the run
	// end judges an exit that came of the program itself; its result is nil when it wrote
	// none, and err is what is wrong with one that cannot be taken.
	end func(code int, result json.RawMessage, err error) *ending
}

// invoke runs what the document calls, once.
func (x *execution) invoke(ctx context.Context) *ending {
	// What an attempt leaves is not for the next one to find.
	dir, err := os.MkdirTemp(x.scratch, "attempt-")
	if err != nil {
		return failed(ExitUnavailable, "the environment: %v", err)
	}
	defer os.RemoveAll(dir)
	result := filepath.Join(dir, "result.json")
	env, err := x.environ(dir, result)
	if err != nil {
		return failed(ExitUnavailable, "the environment: %v", err)
	}
	prog, e := x.program(dir, env)
	if e != nil {
		return e
	}
	out, err := x.openOutput(filepath.Join(dir, "logs.jsonl"))
	if err != nil {
		return failed(ExitUnavailable, "the environment: %v", err)
	}
	env = append(append(env, "FLOWSHIP_LOGS="+out.records.file.Name()), prog.env...)
	cmd := &exec.Cmd{Path: prog.path, Args: prog.argv, Dir: x.Dir, Env: env, Stdout: out.stdout(), Stderr: out.stderr()}
	p := &process{execution: x, cmd: cmd}
	p.prepare()
	if err := cmd.Start(); err != nil {
		out.abandon()
		return notRun(prog.argv[0], err)
	}
	out.begin()
	why := p.wait(ctx)
	out.end(ctx, why)
	value, err := readResult(result)
	code, signal := exitOf(cmd.ProcessState)
	if e := x.stopped(prog, why, code, signal); e != nil {
		e.result = value
		return e
	}
	return prog.end(code, value, err)
}

// program returns what to start, or how the run ends because it cannot be.
func (x *execution) program(dir string, env []string) (*program, *ending) {
	switch x.document.Flowship.Runtime {
	case bundle.RuntimePython:
		return x.pythonProgram(dir)
	case bundle.RuntimeGo:
		return x.goProgram(dir), nil
	}
	argv := x.document.Flowship.Command
	path, err := lookUp(argv[0], x.Dir, env)
	if err != nil {
		return nil, notRun(argv[0], err)
	}
	return &program{noun: "command", path: path, argv: argv, code: true, end: commandEnd}, nil
}

// commandEnd: a command's exit code says how it went.
func commandEnd(code int, result json.RawMessage, err error) *ending {
	switch {
	case code != 0:
		e := failed(code, "the command ended with exit code %d", code)
		e.result, e.said = result, true
		return e
	case err != nil:
		return failed(exitFailed, "the result that the command wrote to $FLOWSHIP_RESULT %v", err)
	}
	return &ending{State: orchestrator.NewState(orchestrator.TypeCompleted, ""), result: result}
}

// notRun: the command could not be started.
func notRun(name string, err error) *ending {
	var pe *fs.PathError
	var ee *exec.Error
	switch {
	case errors.As(err, &ee):
		err = ee.Err
	case errors.As(err, &pe):
		err = pe.Err
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return failed(codeNotFound, "the command %q was not found", name)
	}
	return failed(codeNotExecutable, "the command %q cannot be run: %v", name, err)
}

const goneMessage = "who started the run is gone"

// stopped says how the run ended if it was not the program that ended itself, else nil.
func (x *execution) stopped(p *program, why reason, code int, signal string) *ending {
	message := goneMessage
	switch {
	case why == timedOut:
		limit := seconds(x.flowRun.Timeout)
		state := orchestrator.NewNamedState(orchestrator.TypeFailed, orchestrator.NameTimedOut, fmt.Sprintf("the %s ran longer than %v", p.noun, limit))
		return &ending{State: state, code: ExitTimedOut}
	case why == hungUp:
	case signal == "":
		return nil
	case p.code:
		message = fmt.Sprintf("the %s was ended by signal %s, exit code %d", p.noun, signal, code)
	default:
		message = fmt.Sprintf("the %s was ended by signal %s", p.noun, signal)
	}
	if !p.code {
		code = exitFailed
	}
	return &ending{State: orchestrator.NewState(orchestrator.TypeCrashed, message), code: code}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
