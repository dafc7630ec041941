package execute

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// engine is Prefect's engine while it runs the flow of one document.
type engine struct {
	*execution
	document string // the file
	script   string
	noted    string // the file of what the engine notes
	control  *control
	cmd      *exec.Cmd
	ended    chan struct{}
	why      reason
	kill     <-chan time.Time
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
func (x *execution) supervise(ctx context.Context, document string) (int, error) {
	e := &engine{execution: x, document: document, script: filepath.Join(x.scratch, "prefect_engine.py")}
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
	cmd := exec.Command(e.executable, e.script, mode, e.document, file)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = e.Dir, e.ownEnviron(), e.Stdout, e.Stderr
	cmd.WaitDelay = e.Grace
	prepareSupervisor(cmd)
	return cmd
}

// attend waits for the engine's process to end, and ends it when somebody wants it to.
func (e *engine) attend(ctx context.Context) {
	watching, stop := context.WithCancel(ctx)
	cancelling, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		if e.cancelling(watching) {
			close(cancelling)
		}
	}()
	defer func() {
		stop()
		<-watched
	}()
	var timeout <-chan time.Time
	if e.flowRun.Timeout > 0 {
		timer := time.NewTimer(seconds(e.flowRun.Timeout))
		defer timer.Stop()
		timeout = timer.C
	}
	done := ctx.Done()
	for {
		select {
		case <-e.ended:
			return
		case <-cancelling:
			cancelling = nil
			e.cancel()
		case <-timeout:
			e.relinquish(timedOut, intentRelinquish, e.Grace)
		case <-done:
			if done = nil; errors.Is(context.Cause(ctx), orchestrator.ErrLeaseLost) {
				e.relinquish(leaseLost, intentRelinquish, e.Grace)
			} else {
				e.end(givenUp, e.Grace)
			}
		case s := <-e.Signals:
			e.pass(ctx, s)
		case <-e.kill:
			killSupervised(e.cmd.Process)
		}
	}
}

// cancelling waits until the run is CANCELLING.
func (e *engine) cancelling(ctx context.Context) bool {
	for {
		_, err := e.Watcher.Wait(ctx, e.FlowRunID, func(s orchestrator.State) bool { return s.Type == orchestrator.TypeCancelling })
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case errors.Is(err, orchestrator.ErrNotFound):
			e.warn("nobody can cancel the flow run any more: %v", err)
			return false
		}
		e.warn("it is not known whether the flow run is being cancelled: %v", err)
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
	case s == syscall.SIGHUP:
		e.end(hungUp, e.Grace)
	case s == syscall.SIGTERM && e.eviction() != 0:
		e.evict(ctx, e.eviction())
	default:
		signalSupervisor(e.cmd.Process, s)
	}
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
	state := orchestrator.NewNamedState(orchestrator.TypeScheduled, orchestrator.NameAwaitingRetry, "")
	if _, err := e.setState(ctx, state, false); err != nil {
		e.warn("the flow run could not be rescheduled: %v", err)
	}
}

// final reports whether the server knows the run's end; CRASHED may be nothing but another
// observer's guess.
func (e *engine) final(ctx context.Context) bool {
	ctx, cancel := reporting(ctx)
	defer cancel()
	run, err := e.Runs.FlowRun(ctx, e.FlowRunID)
	return err == nil && run.State.Type.Final() && run.State.Type != orchestrator.TypeCrashed
}

// conclude says how the run ended, if its process could not.
func (e *engine) conclude(ctx context.Context, code int, n notes) (int, *time.Time, error) {
	if e.control.concluded() == concluded {
		return 0, nil, nil
	}
	switch e.why {
	case leaseLost:
		return 0, nil, nil
	case evicted:
		if e.eviction() == intentReschedule {
			return 0, nil, nil
		}
		return exitFailed, nil, nil // so that the infrastructure runs it again
	case cancelled:
		if e.control.concluded() == taken && e.final(ctx) {
			return 0, nil, nil // it had come to its end before the signal
		}
		e.hooks(ctx, n.Cancellation, orchestrator.NewState(orchestrator.TypeCancelling, "Flow run was cancelled."))
		_, err := e.setState(ctx, orchestrator.NewState(orchestrator.TypeCancelled, "Flow run was cancelled successfully."), true)
		return told(err), nil, err
	case timedOut:
		end := e.stopped(&program{noun: "flow"}, timedOut, 0, "")
		if due := e.retried(ctx, end); due != nil {
			return 0, due, nil
		}
		code, err := e.tell(ctx, end.State)
		return code, nil, err
	}
	message := fmt.Sprintf("Process exited with status code: %d. %s", code, n.explain(code))
	switch {
	case code == 0 && (n.Ended || e.control.concluded() == taken):
		return 0, nil, nil
	case code == 0:
		message = "the flow ended its process before it returned, exit code 0"
	}
	e.warn("%s", message)
	out, err := e.setState(ctx, orchestrator.NewState(orchestrator.TypeCrashed, message), false)
	if err == nil && out.State.Type == orchestrator.TypeCrashed {
		e.hooks(ctx, n.Crashed, out.State)
	}
	return told(err), nil, err
}

// tell proposes how the run ended.
func (e *engine) tell(ctx context.Context, s orchestrator.State) (int, error) {
	ctx, cancel := reporting(ctx)
	defer cancel()
	r := &Record{ID: e.FlowRunID, State: s}
	err := r.settle(ctx, nil, e.Runs)
	return told(err), err
}

func (e *engine) setState(ctx context.Context, s orchestrator.State, force bool) (*orchestrator.Outcome, error) {
	ctx, cancel := reporting(ctx)
	defer cancel()
	out, err := e.Runs.SetState(ctx, e.FlowRunID, s, &orchestrator.SetStateOptions{Force: force})
	if err != nil {
		return nil, fmt.Errorf("the end of the run could not be told: %w", err)
	}
	return out, nil
}

// told is the exit code of a supervisor.
func told(err error) int {
	if err != nil {
		return ExitUnavailable
	}
	return 0
}

// reporting is the time for saying how a run ended, whatever has ended.
func reporting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), reportTime)
}

// hooks runs the flow's hooks for the state, unless it is known that there are none. Whether they
// went well is theirs to log.
func (e *engine) hooks(ctx context.Context, there *bool, s orchestrator.State) {
	if there != nil && !*there {
		return
	}
	b, err := json.Marshal(map[string]any{
		"id": s.ID, "type": s.Type, "name": s.Name, "message": s.Message, "timestamp": s.Timestamp,
		"state_details": map[string]string{"flow_run_id": e.FlowRunID},
	})
	file := filepath.Join(e.scratch, "state.json")
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	code := 0
	if err == nil {
		code, err = e.attendSupervisor(context.WithoutCancel(ctx), e.command("hooks", file))
	}
	if err != nil || code != 0 {
		e.warn("the flow's hooks could not be run: exit code %d, %v", code, err)
	}
}

func (e *engine) warn(format string, args ...any) {
	fmt.Fprintf(e.stderr, "warning: "+format+"\n", args...)
}

// notes are what the engine's process notes about itself.
type notes struct {
	begun        bool
	Explanations map[string]string `json:"explanations"` // of exit codes; "" is for any other one
	Cancellation *bool             `json:"cancellation"` // whether the flow has such hooks; nil: not known
	Crashed      *bool             `json:"crashed"`
	Ended        bool              `json:"ended"` // the engine came to its end, not only the process
}

const maxNotes = 64 << 10

// readNotes reads as much as there is to be understood.
func readNotes(path string) (n notes) {
	f, err := os.Open(path)
	if err != nil {
		return n
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxNotes))
	lines.Buffer(nil, maxNotes)
	for lines.Scan() {
		n.begun = true
		if json.Unmarshal(lines.Bytes(), &n) != nil {
			break
		}
	}
	return n
}

// explain is what this Prefect says to an exit code.
func (n *notes) explain(code int) string {
	if text, ok := n.Explanations[strconv.Itoa(code)]; ok {
		return text
	}
	if text, ok := n.Explanations[""]; ok {
		return text
	}
	return "Process exited with an unexpected status code."
}
