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

// command runs the document's command.
func (x *execution) command(ctx context.Context) *ending {
	argv := x.document.Flowship.Command
	result := filepath.Join(x.scratch, "result.json")
	env, err := x.environ(result)
	if err != nil {
		return failed(ExitUnavailable, "the command's environment: %v", err)
	}
	program, err := lookUp(argv[0], x.Dir, env)
	if err != nil {
		return notRun(argv[0], err)
	}
	cmd := &exec.Cmd{Path: program, Args: argv, Dir: x.Dir, Env: env, Stdout: x.Stdout, Stderr: x.Stderr, WaitDelay: 2 * time.Second}
	p := &process{execution: x, cmd: cmd}
	p.prepare()
	if err := cmd.Start(); err != nil {
		return notRun(argv[0], err)
	}
	why := p.wait(ctx)
	e := x.judge(cmd.ProcessState, why)
	value, err := readResult(result)
	if err == nil {
		e.result = value
	} else if e.Type == orchestrator.TypeCompleted {
		return failed(1, "the result that the command wrote to $FLOWSHIP_RESULT %v", err)
	}
	return e
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

// judge turns the exit of the command, and why it was stopped, into a state.
func (x *execution) judge(s *os.ProcessState, why reason) *ending {
	code, signal := exitOf(s)
	switch {
	case why == timedOut:
		limit := seconds(x.flowRun.Timeout)
		state := orchestrator.NewNamedState(orchestrator.TypeFailed, orchestrator.NameTimedOut, fmt.Sprintf("the command ran longer than %v", limit))
		return &ending{State: state, code: ExitTimedOut}
	case why == hungUp:
		return &ending{State: orchestrator.NewState(orchestrator.TypeCrashed, "who started the run is gone"), code: code}
	case signal != "":
		return &ending{State: orchestrator.NewState(orchestrator.TypeCrashed, fmt.Sprintf("the command was ended by signal %s, exit code %d", signal, code)), code: code}
	case code != 0:
		return failed(code, "the command ended with exit code %d", code)
	}
	return &ending{State: orchestrator.NewState(orchestrator.TypeCompleted, "")}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// maxVariable keeps a variable below the 128 KiB that Linux allows for one.
const maxVariable = 96 << 10

// internalVariables are for the executor alone.
var internalVariables = []string{"FLOWSHIP_EXECUTES", "FLOWSHIP_STATE", "FLOWSHIP_SCRATCH", "FLOWSHIP_STOP"}

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
	path, err := "", error(exec.ErrNotFound)
	for _, v := range env {
		if n, value, _ := strings.Cut(v, "="); n == "PATH" || runtime.GOOS == "windows" && strings.EqualFold(n, "PATH") {
			path = value
		}
	}
	for _, d := range filepath.SplitList(path) {
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

// reason is why the command was stopped.
type reason int

const (
	notStopped reason = iota
	timedOut          // it ran too long
	hungUp            // who started the executor is gone
	givenUp           // the context ended
)

// process is the command while it runs.
type process struct {
	*execution
	cmd *exec.Cmd
}

// wait waits for the command to end, and passes on to it what it has to hear.
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
