package execute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/orchestrator"
)

// Phase is what [RunForPrefect] was doing when it failed.
type Phase string

// The phases of a step, in their order.
const (
	PhaseDocument Phase = "document" // fetching and reading the document
	PhaseSidecar  Phase = "sidecar"  // fetching the included files
	PhaseExtract  Phase = "extract"  // putting them into the working directory
	PhaseInstall  Phase = "install"  // installing the dependencies
	PhaseRun      Phase = "run"      // running the flow
)

// PhaseError is an error with the phase in which it happened.
type PhaseError struct {
	Phase Phase
	Err   error
}

func (e *PhaseError) Error() string { return e.Err.Error() }
func (e *PhaseError) Unwrap() error { return e.Err }

// RunForPrefect runs the bundle of a flow run of Prefect, whose document has the key in the store
// at url. It does what Prefect's own programs do in the infrastructure, after it has proven what
// can be: of a document of flowship everything, of one of Prefect's own that the included files
// are those that it names. A zero digest takes the document for what it is.
//
// A flow in Python, and whatever Prefect pickled, is run by Prefect's engine, which reports to the
// server itself; the interpreter is the one that [EnvPython] names, else python3 or python. The
// dependencies are installed for that interpreter before, by uv or else by pip. Commands and
// flows in Go run as in [Run], and are ended when their run is being cancelled.
//
// The exit code is 0 when the server knows how the run ended, whatever that was; with
// Prefect's own executor it is that one's.
//
// An error that has nothing to do with how the run ended is a [PhaseError]; the exit code is then
// that of a bundle that was not run.
func RunForPrefect(ctx context.Context, url, key string, digest bundle.Digest, opts *Options) (code int, err error) {
	x, err := newExecution(key, digest, opts)
	if err != nil {
		return ExitUnavailable, &PhaseError{PhaseDocument, err}
	}
	defer os.RemoveAll(x.scratch)
	if err := x.openObjects(ctx, url); err != nil {
		return exitCode(err), &PhaseError{PhaseDocument, err}
	}
	defer x.objects.close()
	var file string
	err = x.unlessStopped(ctx, func(ctx context.Context) (err error) {
		file, err = x.prepareForPrefect(ctx)
		return err
	})
	switch {
	case errors.Is(err, errOverBefore):
		return 0, nil
	case err != nil:
		return exitCode(err), errors.Join(err, x.notStarted(ctx, err))
	case file == "":
		return x.runNatively(ctx)
	}
	return x.handOver(ctx, "bundle", file, "prefect.bundles.execute", "--key", file)
}

// runNatively runs what is not Prefect's to run. Who looks after the group that it is in watches
// the run as well, and a command that is interrupted by both would take that for impatience.
func (x *execution) runNatively(ctx context.Context) (int, error) {
	if !x.Grouped {
		watched, stop := x.watch(ctx)
		defer stop()
		ctx = watched
	}
	record, err := x.run(ctx)
	switch {
	case err != nil:
		return record.ExitCode, &PhaseError{PhaseRun, err}
	case record.Told:
		return 0, nil
	}
	return record.ExitCode, nil
}

// prepareForPrefect returns the file of the document to hand over, or "" where this package runs
// the bundle itself.
func (x *execution) prepareForPrefect(ctx context.Context) (string, error) {
	dir := filepath.Join(x.scratch, "prefect")
	b, err := x.fetchDocument(ctx, dir)
	if err != nil {
		return "", &PhaseError{PhaseDocument, err}
	}
	if err := x.identify(); err != nil {
		return "", &PhaseError{PhaseDocument, err}
	}
	if err := x.cancelledBefore(ctx); err != nil {
		return "", &PhaseError{PhaseRun, err}
	}
	if f := b.Document.Flowship; f != nil && f.Runtime != bundle.RuntimePython {
		x.digest = b.Digest // it must not become another one meanwhile
		return "", os.RemoveAll(dir)
	}
	if err := x.findInterpreter(); err != nil {
		return "", &PhaseError{PhaseRun, err}
	}
	if err := x.fetchSidecar(ctx, b); err != nil {
		return "", &PhaseError{PhaseSidecar, err}
	}
	if err := x.extract(ctx, b); err != nil {
		return "", &PhaseError{PhaseExtract, err}
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", &PhaseError{PhaseExtract, err}
	}
	if err := x.install(ctx, b.Document.Dependencies); err != nil {
		return "", &PhaseError{PhaseInstall, err}
	}
	file, err := x.rewrite(b.Document)
	if err != nil {
		return "", &PhaseError{PhaseRun, err}
	}
	return file, nil
}

// identify reads of a document what is needed of its flow run; the rest is Prefect's.
func (x *execution) identify() error {
	var run struct {
		ID      string  `json:"id"`
		Timeout float64 `json:"timeout_seconds"`
	}
	if err := json.Unmarshal(x.document.FlowRun, &run); err != nil {
		return x.refuse("its flow_run: " + err.Error())
	}
	if x.FlowRunID != "" && x.FlowRunID != run.ID {
		return x.refuse(fmt.Sprintf("the document is of flow run %q, not %q", run.ID, x.FlowRunID))
	}
	x.FlowRunID, x.flowRun.Timeout = run.ID, run.Timeout
	return nil
}

// errOverBefore: the run was cancelled before it was run, and the server knows it.
var errOverBefore = errors.New("the flow run was cancelled before it was run")

// cancelledBefore ends a run that is being cancelled, of which nothing was run yet.
func (x *execution) cancelledBefore(ctx context.Context) error {
	if x.Runs == nil {
		return nil
	}
	run, err := x.Runs.FlowRun(ctx, x.FlowRunID)
	switch {
	case err != nil:
		return err
	case run.State.Type == orchestrator.TypeCancelled:
		return errOverBefore
	case run.State.Type != orchestrator.TypeCancelling:
		return nil
	}
	state := orchestrator.NewState(orchestrator.TypeCancelled, "Flow run was cancelled before execution started.")
	if _, err := x.Runs.SetState(ctx, x.FlowRunID, state, &orchestrator.SetStateOptions{Force: true}); err != nil {
		return err
	}
	return errOverBefore
}

// notStarted tells that a run of Prefect's could not be started.
func (x *execution) notStarted(ctx context.Context, why error) error {
	if x.Runs == nil || x.FlowRunID == "" {
		return nil
	}
	state := orchestrator.NewState(orchestrator.TypeCrashed, "Flow run could not start: "+why.Error())
	var stopped *stoppedError
	if errors.As(why, &stopped) {
		switch x.eviction() {
		case intentRelinquish:
			return nil
		case intentReschedule:
			state = rescheduled()
		}
	}
	ctx, cancel := reporting(ctx)
	defer cancel()
	_, err := x.Runs.SetState(ctx, x.FlowRunID, state, nil)
	return err
}

// errCancelling: the server says that the run is being cancelled.
var errCancelling = errors.New("the flow run is being cancelled")

// watch returns a context that also ends when the run is being cancelled, with that as its cause.
// stop has to be called, and waits until nobody watches any more.
func (x *execution) watch(ctx context.Context) (watched context.Context, stop func()) {
	watched, end := context.WithCancelCause(ctx)
	over, id := make(chan struct{}), x.FlowRunID // which is read once more by those who run it
	go func() {
		defer close(over)
		if x.Watcher != nil && x.cancelling(watched, id) {
			end(errCancelling)
		}
	}()
	return watched, func() {
		end(nil)
		<-over
	}
}

// cancelling waits until the run is CANCELLING.
func (x *execution) cancelling(ctx context.Context, id string) bool {
	for {
		_, err := x.Watcher.Wait(ctx, id, func(s orchestrator.State) bool { return s.Type == orchestrator.TypeCancelling })
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case errors.Is(err, orchestrator.ErrNotFound):
			x.warn("nobody can cancel the flow run any more: %v", err)
			return false
		}
		x.warn("it is not known whether the flow run is being cancelled: %v", err)
	}
}

func (x *execution) warn(format string, args ...any) {
	fmt.Fprintf(x.stderr, "warning: "+format+"\n", args...)
}

// rewrite writes the document without what is done already: the files are in their place, the
// dependencies installed.
func (x *execution) rewrite(d *bundle.Document) (string, error) {
	f, err := os.OpenFile(filepath.Join(x.scratch, "bundle.json"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	rest := &bundle.Document{Function: d.Function, Context: d.Context, FlowRun: d.FlowRun}
	_, err = rest.Write(f)
	return f.Name(), errors.Join(err, f.Close())
}

// requirement is how a requirement of PEP 508 begins: a name, perhaps extras, and then versions,
// an address, a marker or nothing. An option, a path or an address alone is none.
var requirement = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?[ \t]*(?:\[[A-Za-z0-9._, \t-]*\])?[ \t]*(?:[<>=!~(@;].*)?$`)

// requirements are the lines of a document's dependencies, checked as Prefect does.
func requirements(dependencies string) ([]string, error) {
	var lines []string
	for line := range strings.SplitSeq(dependencies, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if strings.HasPrefix(line, "-") {
			return nil, fmt.Errorf("dependency %q: command-line flags are not allowed", line)
		}
		if !requirement.MatchString(line) {
			return nil, fmt.Errorf("dependency %q: Invalid PEP 508 dependency specifier", line)
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// install installs the dependencies for the interpreter.
func (x *execution) install(ctx context.Context, dependencies string) error {
	lines, err := requirements(dependencies)
	if err != nil || len(lines) == 0 {
		return err
	}
	argv := []string{x.executable, "-m", "pip", "install", "--disable-pip-version-check"}
	if uv, err := lookUp("uv", x.Dir, x.Environ); err == nil {
		argv = []string{uv, "pip", "install", "--python", x.executable}
	}
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], lines...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = x.Dir, x.Environ, x.Stderr, x.Stderr
	cmd.WaitDelay = x.Grace
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the dependencies could not be installed: %s: %w", strings.Join(argv, " "), err)
	}
	return nil
}

// handOver runs a flow with Prefect: under this package's eyes if that is possible, else by the
// module of Prefect's that does it alone, with these arguments.
func (x *execution) handOver(ctx context.Context, kind, which string, alone ...string) (int, error) {
	suits, err := x.suits()
	if err != nil {
		return ExitUnavailable, &PhaseError{PhaseRun, err}
	}
	if suits {
		code, err := x.supervise(ctx, kind, which)
		switch {
		case err == nil:
			return code, nil
		case !errors.Is(err, errUnsuited):
			return code, &PhaseError{PhaseRun, err}
		}
	}
	cmd := exec.Command(x.executable, append([]string{"-m"}, alone...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = x.Dir, x.ownEnviron(), x.Stdout, x.Stderr
	cmd.WaitDelay = x.Grace
	prepareSupervisor(cmd)
	code, err := x.attendSupervisor(ctx, cmd)
	if err != nil {
		return ExitUnavailable, &PhaseError{PhaseRun, err}
	}
	return code, nil
}

// attendSupervisor runs a process that looks after itself, and passes signals on to it.
func (x *execution) attendSupervisor(ctx context.Context, cmd *exec.Cmd) (code int, err error) {
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait() // its ProcessState says more than its error
	}()
	stop := ctx.Done()
	for {
		select {
		case s := <-x.Signals:
			signalSupervisor(cmd.Process, s)
		case <-stop:
			stop = nil
			signalSupervisor(cmd.Process, os.Interrupt)
			defer time.AfterFunc(x.Grace, func() { cmd.Process.Kill() }).Stop()
		case <-ended:
			code, _ := exitOf(cmd.ProcessState)
			return code, nil
		}
	}
}
