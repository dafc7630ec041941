package execute

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/flowship/flowship/submit/orchestrator"
)

// EnvPrefectExecutor chooses who looks after a flow of Python under Prefect: "stock" is Prefect's
// own "python -m prefect.bundles.execute", which starts a second interpreter; "" or "engine" is
// this package, where it can.
const EnvPrefectExecutor = "FLOWSHIP_PREFECT_EXECUTOR"

// prefectEngine is the program that runs a flow with Prefect's engine.
//
//go:embed prefect_engine.py
var prefectEngine []byte

// codeUnsuited is what it ends with where this Prefect has not what it needs.
const codeUnsuited = 75

// errUnsuited: Prefect's own executor has to do it. Nothing was run.
var errUnsuited = errors.New("this Prefect's engine cannot be run directly")

// cancelGrace is how long a flow that is cancelled may take to end, as Prefect has it.
const cancelGrace = 30 * time.Second

// engine is Prefect's engine while it runs one flow.
type engine struct {
	*execution
	kind    string // of what the flow is: "bundle", "deployment"
	which   string // the file of the document, or the id of the flow run
	script  string
	noted   string // the file of what the engine notes
	control *control
	cmd     *exec.Cmd
	ended   chan struct{}
	why     reason
	kill    <-chan time.Time
}

// suits reports whether this package can look after the flow itself.
func (x *execution) suits() (bool, error) {
	switch choice := variable(x.Environ, EnvPrefectExecutor); choice {
	case "", "engine":
	case "stock":
		return false, nil
	default:
		return false, fmt.Errorf("%s: %q is neither \"engine\" nor \"stock\"", EnvPrefectExecutor, choice)
	}
	// With this setting, Prefect has its own idea of what a lost connection means.
	crash, _ := strconv.ParseBool(variable(x.Environ, "PREFECT_RUNNER_CRASH_ON_CANCELLATION_FAILURE"))
	return x.Runs != nil && x.Watcher != nil && !crash, nil
}

// supervise runs the flow with Prefect's engine, and says what the engine could not say any more.
// The exit code is 0 when the server knows how the run ended.
func (x *execution) supervise(ctx context.Context, kind, which string) (int, error) {
	e := &engine{execution: x, kind: kind, which: which, script: filepath.Join(x.scratch, "prefect_engine.py")}
	if err := os.WriteFile(e.script, prefectEngine, 0o600); err != nil {
		return ExitUnavailable, err
	}
	x.book = openLogbook(ctx, x.Logs, x.FlowRunID, x.stderr)
	defer x.book.close()
	defer x.book.flush(flushTime)
	for attempt := 1; ; attempt++ {
		e.noted = filepath.Join(x.scratch, fmt.Sprintf("notes-%d.jsonl", attempt))
		code, again, err := e.attempt(ctx)
		if again == nil || err != nil {
			return code, err
		}
		if end := x.await(ctx, *again); end != nil {
			return e.tell(ctx, end.State)
		}
	}
}

// attempt runs the engine once. When a deadline ended it and the run is to be run again, due says
// when.
func (e *engine) attempt(ctx context.Context) (code int, due *time.Time, err error) {
	e.why, e.kill = notStopped, nil
	if e.control, err = openControl(); err != nil {
		e.warn("flows cannot be told why they are ended: %v", err)
	}
	defer e.control.close()
	e.cmd = e.command("run", e.noted)
	e.cmd.Env = append(e.cmd.Env, e.control.environ()...)
	if err := e.cmd.Start(); err != nil {
		return ExitUnavailable, nil, err
	}
	e.ended = make(chan struct{})
	go func() {
		defer close(e.ended)
		e.cmd.Wait() // its ProcessState says more than its error
	}()
	e.attend(ctx)
	code = processCode(e.cmd.ProcessState)
	notes := readNotes(e.noted)
	if code == codeUnsuited && !notes.begun {
		return 0, nil, errUnsuited
	}
	return e.conclude(ctx, code, notes)
}

// command is the script in one of its modes.
func (e *engine) command(mode, file string) *exec.Cmd {
	cmd := exec.Command(e.executable, e.script, mode, e.kind, e.which, file)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = e.Dir, e.ownEnviron(), e.Stdout, e.Stderr
	cmd.WaitDelay = e.Grace
	prepareSupervisor(cmd)
	return cmd
}

// attend waits for the engine's process to end, and ends it when somebody wants it to.
func (e *engine) attend(ctx context.Context) {
	watched, stop := e.watch(ctx)
	defer stop()
	done := watched.Done()
	var timeout <-chan time.Time
	if e.flowRun.Timeout > 0 {
		timer := time.NewTimer(seconds(e.flowRun.Timeout))
		defer timer.Stop()
		timeout = timer.C
	}
	for {
		select {
		case <-e.ended:
			return
		case <-done:
			done = nil
			switch why := context.Cause(watched); {
			case errors.Is(why, errCancelling):
				e.cancel()
			case errors.Is(why, orchestrator.ErrLeaseLost):
				e.relinquish(leaseLost, intentRelinquish, e.Grace)
			default:
				e.end(givenUp, e.Grace)
			}
		case <-timeout:
			e.relinquish(timedOut, intentRelinquish, e.Grace)
		case s := <-e.Signals:
			e.pass(ctx, s)
		case <-e.kill:
			killSupervised(e.cmd.Process)
		}
	}
}

// cancel ends the flow because the run is CANCELLING.
func (e *engine) cancel() {
	if e.why != notStopped {
		return
	}
	switch e.control.signal(intentCancel) {
	case concluded:
		return
	case taken:
		if !signalsItself {
			break
		}
		// It ends itself, without any signal.
		e.why, e.kill = cancelled, time.After(cancelGrace)
		return
	}
	e.end(cancelled, cancelGrace)
}

// relinquish ends the flow such that its process says nothing more to the server. One that does not
// listen is killed.
func (e *engine) relinquish(why reason, i intent, grace time.Duration) {
	if e.why != notStopped {
		return
	}
	switch e.control.signal(i) {
	case concluded:
	case taken:
		e.end(why, grace)
	default:
		e.why = why
		killSupervised(e.cmd.Process)
	}
}

// end asks the process to end, and kills it when it has not within the grace period.
func (e *engine) end(why reason, grace time.Duration) {
	if e.why == notStopped {
		e.why, e.kill = why, time.After(grace)
		signalSupervisor(e.cmd.Process, syscall.SIGTERM)
	}
}

// pass passes a signal on, unless it means something to the supervisor.
func (e *engine) pass(ctx context.Context, s os.Signal) {
	if e.heard == nil && ends(s) {
		e.heard = s
	}
	switch {
	case ends(s) && e.why == notStopped && e.asked(ctx):
		e.cancel()
	case s == syscall.SIGHUP:
		e.end(hungUp, e.Grace)
	case s == syscall.SIGTERM && e.eviction() != 0:
		e.evict(ctx, e.eviction())
	default:
		signalSupervisor(e.cmd.Process, s)
	}
}

// askTime is for how long a signal may be held back.
const askTime = 2 * time.Second

// asked reports whether the run is to be cancelled. Who stops an executor for that has told the
// server before, and the signal may be here first: Prefect's engine would call its end a crash.
func (e *engine) asked(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	run, err := e.Runs.FlowRun(ctx, e.FlowRunID)
	return err == nil && run.State.Type == orchestrator.TypeCancelling
}

// envEviction is Prefect's variable that says what a SIGTERM to a supervisor means.
const envEviction = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"

// eviction is the intent that goes with a SIGTERM; 0 is none.
func (x *execution) eviction() intent {
	switch variable(x.Environ, envEviction) {
	case "reschedule":
		return intentReschedule
	case "relinquish":
		return intentRelinquish
	}
	return 0
}

// evict ends the flow so that another executor runs it again.
func (e *engine) evict(ctx context.Context, i intent) {
	if e.why != notStopped {
		return
	}
	e.relinquish(evicted, i, cancelGrace)
	if e.why != evicted || i != intentReschedule || e.final(ctx) {
		return
	}
	// Before the process has ended: whoever sees its end finds the run rescheduled.
	if _, err := e.setState(ctx, rescheduled(), false); err != nil {
		e.warn("the flow run could not be rescheduled: %v", err)
	}
}

// rescheduled is the state of a run that anybody may take. It is not called AwaitingRetry, as
// Prefect has it: such a run is for its executor alone to run again, and that one is gone.
func rescheduled() orchestrator.State {
	return orchestrator.NewNamedState(orchestrator.TypeScheduled, "Rescheduled", "its executor was asked to end")
}
