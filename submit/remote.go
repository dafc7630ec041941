package submit

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/execute/executor"
)

// What a program finds in its environment where it is to run a flow.
const (
	envFlow       = "FLOWSHIP_FLOW"            // the name of the flow
	envCheck      = "FLOWSHIP_CHECK"           // only see whether it could be run
	envParameters = "FLOWSHIP_PARAMETERS_FILE" // JSON
	envResult     = "FLOWSHIP_RESULT"          // file for what the flow returns, as JSON
	envFailure    = "FLOWSHIP_FAILURE"         // file for why it did not, as text
	envLogs       = "FLOWSHIP_LOGS"            // file for lines of logs
)

// Main is the entry of the program where its flows are run: call it first thing in main, and in
// TestMain, with all flows that the program runs elsewhere.
//
// If the environment asks for one of them, Main runs it, with a context that ends when the
// process gets SIGINT or SIGTERM, and exits. So it does when the program was started to execute
// or to launch a bundle, as the program itself starts it. Otherwise it returns at once.
//
// Flows that cannot be told apart, or can never be run, end the program with exit code 2.
func Main(flows ...AnyFlow) {
	_, source, _, _ := runtime.Caller(1)
	enter(&process{flows: flows, source: source})
}

// MainWith is [Main] for a program that knows more than local processes, and stores that have
// credentials of their own.
//
//	submit.MainWith([]submit.AnyFlow{train}, &submit.MainOptions{Infrastructures: map[string]*launch.Infrastructure{
//		dockerinfra.Type: launch.New(dockerinfra.Type, dockerinfra.New(nil)),
//	}})
func MainWith(flows []AnyFlow, opts *MainOptions) {
	_, source, _, _ := runtime.Caller(1)
	p := &process{flows: flows, source: source}
	if opts != nil {
		p.opts = *opts
	}
	enter(p)
}

// MainOptions are the options of [MainWith]; nil is the default. They are for flows without a
// [Client] of their own, and for what the program leaves behind where it submits one.
type MainOptions struct {
	// Infrastructures are where jobs run, beside local processes, as in [ClientOptions].
	Infrastructures map[string]*launch.Infrastructure
	// Storage is how stores are opened, as in [ClientOptions].
	Storage *storage.OpenOptions
}

func enter(p *process) {
	p.args, p.stderr = os.Args, os.Stderr
	here.set(p.opts)
	if code, done := p.main(context.Background()); done {
		os.Exit(code)
	}
}

// process is what a program was started for.
type process struct {
	args   []string
	stderr io.Writer
	flows  []AnyFlow
	source string // file that calls Main
	opts   MainOptions
}

func (p *process) main(ctx context.Context) (code int, done bool) {
	err := p.check()
	if err == nil {
		for _, f := range p.flows {
			f.defined().main.Store(&p.source)
		}
	}
	switch {
	case len(p.args) > 1 && p.args[1] == "step" && (os.Getenv(envExecutes) != "" || p.args[0] == jobProgram):
		return p.step(ctx), true
	case os.Getenv(envFlow) != "":
		return p.serve(ctx, err), true
	case err != nil:
		fmt.Fprintf(p.stderr, "submit: %v\n", err)
		return exitUsage, true
	}
	return 0, false
}

// check refuses flows that could not be found by their names.
func (p *process) check() error {
	sites := map[string]string{}
	for _, f := range p.flows {
		d := f.defined()
		if d.err != nil {
			return fmt.Errorf("flow %q (%s): %w", d.name, d.site, d.err)
		}
		if site, ok := sites[d.name]; ok && site != d.site {
			return fmt.Errorf("two flows are named %q: %s and %s", d.name, site, d.site)
		}
		sites[d.name] = d.site
	}
	return nil
}

// serve runs the flow that the environment asks for.
func (p *process) serve(ctx context.Context, err error) int {
	call := &remoteCall{name: os.Getenv(envFlow), result: os.Getenv(envResult), logs: os.Getenv(envLogs), check: os.Getenv(envCheck) != "", stderr: p.stderr}
	failure, parameters := os.Getenv(envFailure), os.Getenv(envParameters)
	// What the flow starts in its turn is not to take these for its own.
	for _, name := range []string{envFlow, envCheck, envResult, envFailure, envLogs} {
		os.Unsetenv(name)
	}
	if err == nil {
		call.flow, err = p.find(call.name)
	}
	if err == nil {
		call.parameters, err = readParameters(parameters)
	}
	if err == nil {
		err = call.do(ctx)
	}
	if err == nil {
		return 0
	}
	if failure == "" {
		fmt.Fprintln(p.stderr, err)
	} else if writeErr := writeWhole(failure, []byte(err.Error())); writeErr != nil {
		fmt.Fprintf(p.stderr, "%v\n%v\n", err, writeErr)
	}
	return 1
}

func (p *process) find(name string) (*definition, error) {
	names := []string{}
	for _, f := range p.flows {
		if f.Name() == name {
			return f.defined(), nil
		}
		names = append(names, f.Name())
	}
	return nil, fmt.Errorf("the program has no flow %q%s", name, didYouMean(name, names))
}

func readParameters(path string) (json.RawMessage, error) {
	if path == "" {
		return json.RawMessage("{}"), nil
	}
	parameters, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the parameters: %w", err)
	}
	return parameters, nil
}

// remoteCall is the call of a flow where it is run.
type remoteCall struct {
	name       string
	flow       *definition
	parameters json.RawMessage
	result     string // path
	logs       string // path
	check      bool
	stderr     io.Writer
}

func (c *remoteCall) do(ctx context.Context) error {
	if c.check {
		return c.flow.fit(c.parameters)
	}
	if c.logs != "" {
		f, err := os.OpenFile(c.logs, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return fmt.Errorf("the file of logs: %w", err)
		}
		defer f.Close()
		ctx = context.WithValue(ctx, loggerKey{}, slog.New(newLogHandler(f)))
	}
	ctx, stop := interrupted(ctx)
	defer stop()
	out, err := c.protected(ctx)
	if err != nil {
		return err
	}
	if c.result == "" {
		return nil
	}
	text, err := encodeJSON(out)
	if err != nil {
		return fmt.Errorf("the result is not JSON: %w", err)
	}
	if err := writeWhole(c.result, text); err != nil {
		return fmt.Errorf("the result: %w", err)
	}
	return nil
}

// protected calls the function in a goroutine of its own, which it may end in every way.
func (c *remoteCall) protected(ctx context.Context) (out any, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		returned := false
		defer func() {
			if returned {
				return
			}
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
				fmt.Fprintf(c.stderr, "panic: %v\n\n%s", p, debug.Stack())
				return
			}
			err = errors.New("the flow ended its goroutine before it returned")
		}()
		out, err = c.flow.call(ctx, c.parameters)
		returned = true
	}()
	<-done
	return out, err
}

// writeWhole writes the file so that nobody finds half of it.
func writeWhole(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // unless it was renamed
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// exitUsage is the exit code for what cannot be meant, beside those of package execute.
const exitUsage = 2

// step is what flowship's own "step" command does.
func (p *process) step(ctx context.Context) int {
	which := ""
	if len(p.args) > 2 {
		which = p.args[2]
	}
	flags := flag.NewFlagSet("step "+which, flag.ContinueOnError)
	flags.SetOutput(p.stderr)
	switch which {
	case "execute":
		return p.execute(ctx, flags)
	case "launch":
		return p.launch(ctx, flags)
	case "deployment":
		if !p.parse(flags) {
			return exitUsage
		}
		return p.executed(executor.RunDeployment(ctx))
	}
	fmt.Fprintf(p.stderr, "submit: %s is no step: it is execute, launch or deployment\n", strconv.Quote(which))
	return exitUsage
}

// parse parses the flags behind the step; all have to be given but those named.
func (p *process) parse(flags *flag.FlagSet, optional ...string) bool {
	if err := flags.Parse(p.args[3:]); err != nil {
		return false // it was printed
	}
	missing := []string{}
	flags.VisitAll(func(f *flag.Flag) {
		if f.Value.String() == "" && !slices.Contains(optional, f.Name) {
			missing = append(missing, "--"+f.Name)
		}
	})
	switch {
	case flags.NArg() > 0:
		fmt.Fprintf(p.stderr, "submit: %s: unexpected %q\n", flags.Name(), flags.Args())
	case len(missing) > 0:
		fmt.Fprintf(p.stderr, "submit: %s: missing %s\n", flags.Name(), strings.Join(missing, ", "))
	default:
		return true
	}
	return false
}

func (p *process) execute(ctx context.Context, flags *flag.FlagSet) int {
	step := executor.Step{}
	flags.StringVar(&step.URL, "url", "", "URL of the store")
	flags.StringVar(&step.Key, "key", "", "key of the document")
	digest := flags.String("digest", "", "digest of the document")
	flags.StringVar(&step.Results, "result-url", "", "URL of the store of the result; that of the document without it")
	if !p.parse(flags, "result-url") {
		return exitUsage
	}
	var err error
	if step.Digest, err = bundle.ParseDigest(*digest); err != nil {
		fmt.Fprintln(p.stderr, err)
		return exitUsage
	}
	return p.executed(Execute(ctx, Step{Step: step, Storage: p.opts.Storage}))
}

// executed says what is left to say of what an executor returned.
func (p *process) executed(record *execute.Record, err error) int {
	if untold := executor.Untold(record, err); untold != nil {
		fmt.Fprintln(p.stderr, untold)
	}
	return executor.ExitCode(record, err)
}

func (p *process) launch(ctx context.Context, flags *flag.FlagSet) int {
	id := flags.String("id", "", "id of the flow run")
	if !p.parse(flags) {
		return exitUsage
	}
	client, err := (&environment{opts: p.opts}).client(ctx)
	if err == nil {
		err = errors.Join(client.LaunchDetached(ctx, *id, os.Stdout), client.Close())
	}
	if err != nil {
		fmt.Fprintln(p.stderr, err)
		return executor.ExitCode(nil, err)
	}
	return 0
}
