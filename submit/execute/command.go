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
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/flowship/flowship/submit/orchestrator"
)

// ending is how a run ended.
type ending struct {
	orchestrator.State
	code   int
	result json.RawMessage
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

// invoke runs what the document calls.
func (x *execution) invoke(ctx context.Context) *ending {
	result := filepath.Join(x.scratch, "result.json")
	env, err := x.environ(result)
	if err != nil {
		return failed(ExitUnavailable, "the environment: %v", err)
	}
	prog, e := x.program(env)
	if e != nil {
		return e
	}
	cmd := &exec.Cmd{
		Path: prog.path, Args: prog.argv, Dir: x.Dir, Env: append(env, prog.env...), Stdout: x.Stdout, Stderr: x.Stderr, WaitDelay: 2 * time.Second,
	}
	p := &process{execution: x, cmd: cmd}
	p.prepare()
	if err := cmd.Start(); err != nil {
		return notRun(prog.argv[0], err)
	}
	why := p.wait(ctx)
	value, err := readResult(result)
	code, signal := exitOf(cmd.ProcessState)
	if e := x.stopped(prog, why, code, signal); e != nil {
		e.result = value
		return e
	}
	return prog.end(code, value, err)
}

// program returns what to start, or how the run ends because it cannot be.
func (x *execution) program(env []string) (*program, *ending) {
	if x.interpreter != "" {
		return x.pythonProgram()
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
		e.result = result
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

// stopped says how the run ended if it was not the program that ended itself, else nil.
func (x *execution) stopped(p *program, why reason, code int, signal string) *ending {
	message := "who started the run is gone"
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

// maxVariable keeps a variable below the 128 KiB that Linux allows for one.
const maxVariable = 96 << 10

// internalVariables are for the executor alone.
var internalVariables = []string{"FLOWSHIP_EXECUTES", "FLOWSHIP_LEASE", "FLOWSHIP_STATE", "FLOWSHIP_SCRATCH", "FLOWSHIP_STOP"}

// environ is the command's environment; it writes the parameters' file.
func (x *execution) environ(result string) ([]string, error) {
	parameters := x.document.Parameters()
	file := filepath.Join(x.scratch, "parameters.json")
	if err := os.WriteFile(file, parameters, 0o600); err != nil {
		return nil, err
	}
	env := slices.DeleteFunc(slices.Clone(x.Environ), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(internalVariables, name) || name == "FLOWSHIP_PARAMETERS"
	})
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

// reason is why the program was stopped.
type reason int

const (
	notStopped reason = iota
	timedOut          // it ran too long
	hungUp            // who started the executor is gone
	givenUp           // the context ended
)

// process is the program while it runs.
type process struct {
	*execution
	cmd *exec.Cmd
}

// wait waits for the program to end, and passes on to it what it has to hear.
func (p *process) wait(ctx context.Context) reason {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.cmd.Wait() // its ProcessState says more than its error
	}()
	var (
		timeout <-chan time.Time
		next    <-chan time.Time // when to send ladder[0]
		ladder  []os.Signal
		late    <-chan time.Time // when to pass on what the group has got
		passed  []os.Signal
		why     reason
	)
	if p.flowRun.Timeout > 0 {
		timer := time.NewTimer(seconds(p.flowRun.Timeout))
		defer timer.Stop()
		timeout = timer.C
	}
	step := func() {
		p.send(ladder[0])
		if ladder, next = ladder[1:], nil; len(ladder) > 0 {
			next = time.After(p.Grace)
		}
	}
	stop := func(r reason, signals ...os.Signal) {
		why, ladder, timeout = r, signals, nil
		step()
	}
	early := len(p.Signals) // came before the command was there
	done := ctx.Done()
	for {
		select {
		case <-ended:
			p.clear()
			return why
		case <-timeout:
			stop(timedOut, syscall.SIGTERM, os.Kill)
		case <-done:
			done = nil
			if why == notStopped {
				stop(givenUp, os.Interrupt, syscall.SIGTERM, os.Kill)
			}
		case s := <-p.Signals:
			early--
			switch {
			case why != notStopped: // it is being stopped; in a group this may be our own signal
			case s == syscall.SIGHUP && p.Grouped:
				stop(hungUp, syscall.SIGTERM, os.Kill)
			case p.Grouped && early >= 0:
				p.cmd.Process.Signal(s)
			case p.Grouped:
				if passed = append(passed, s); late == nil {
					late = time.After(strayDelay)
				}
			default:
				p.send(s)
			}
		case <-next:
			step()
		case <-late:
			for _, s := range passed {
				p.sendStray(s)
			}
			passed, late = nil, nil
		}
	}
}

// strayDelay gives a command that leaves the group the time to do so.
const strayDelay = 100 * time.Millisecond
