package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

type runOptions struct {
	selection
	parameters
	name    string
	tags    []string
	timeout time.Duration
	keep    bool
	noCache bool
}

func newRunCommand(c *console) *cobra.Command {
	opts := &runOptions{}
	cmd := &cobra.Command{
		Use:         "run [ENTRYPOINT] --include PATTERN... [-- COMMAND...]",
		Short:       "Run a command or a Python flow with its files, away from where they are",
		Annotations: map[string]string{packing: ""},
		Long: `Run packs the files into a bundle, stores it, records a flow run, and has the
command or the flow executed in a directory that holds these files and nothing
else. It waits for the end. What is stored was packed once: the same files are not
stored again. Ctrl-C cancels the run: it gets SIGINT, 10 seconds later SIGTERM, and
after 10 more SIGKILL. A second Ctrl-C kills it at once. There is no standard input.

A command's output passes through, and its exit code is flowship's. It finds its
arguments as JSON in $FLOWSHIP_PARAMETERS and in the file $FLOWSHIP_PARAMETERS_FILE.
JSON that it writes to the file $FLOWSHIP_RESULT is the run's result.

A flow in Python is named by file and function, path/flow.py:name, and travels with
the local modules that it imports. Python 3.9 or later runs it: $FLOWSHIP_PYTHON, or
python3 in PATH. --param and --params are the function's arguments, checked against
its signature. What it returns is printed as one line of JSON; what it prints goes
to standard error. The exit code is 0 if it returned, 1 if it did not. The function
of a Prefect flow is called without Prefect's engine; PREFECT_API_URL must not be set.

JSON: {"id", "name", "state": {"type", "name", "message", "timestamp"}, "work_pool",
"parameters", "result", "bundle": {"url", "key", "files_key", "uploaded_bytes",
"reused_bytes"}, "timings": {"collect", "hash", "upload", "create", "launch", "run"}}
with seconds. A command's output then goes to standard error.`,
		Example: `  flowship run --include count.sh --include texts/ -- sh count.sh
  flowship run flows/etl.py:main --include 'data/*.csv' -p least=40
  flowship run --include train.py -p epochs=3 --timeout 1h -- python train.py`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := opts.target(cmd, args)
			switch {
			case err != nil:
				return err
			case t.invocation.Runtime == "":
				return usagef("", "missing ENTRYPOINT or -- COMMAND")
			case opts.timeout < 0:
				return usagef("", "--timeout %v is negative", opts.timeout)
			}
			return runRun(cmd.Context(), c, opts, t)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	opts.selection.register(flags)
	opts.parameters.register(flags)
	flags.StringVar(&opts.name, "name", "", "`NAME` of the flow run (default: a random one)")
	flags.StringArrayVar(&opts.tags, "tag", nil, "a `TAG` of the flow run; repeatable")
	flags.DurationVar(&opts.timeout, "timeout", 0, "how long it may run: 90s, 1h30m (default: without end)")
	flags.BoolVar(&opts.keep, "keep", false, "leave the working directory behind, and print where it is")
	registerNoCache(flags, &opts.noCache)
	return cmd
}

func runRun(ctx context.Context, c *console, opts *runOptions, t *target) error {
	parameters, err := opts.parameters.read(ctx, c.in)
	if err != nil {
		return err
	}
	client, err := openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	stdout := c.out
	if c.json || t.invocation.Runtime != bundle.RuntimeExec {
		stdout = c.err // the result is what belongs there
	}
	kill, done := c.watchCancel(ctx)
	defer done()
	run, err := client.Run(ctx, submit.Invocation{
		Runtime:    t.invocation.Runtime,
		Command:    t.invocation.Command,
		Entrypoint: t.invocation.Entrypoint,
		NoSource:   t.collect.Entrypoint == "",
		Dir:        t.base,
		Include:    opts.include,
		Parameters: parameters,
		Name:       opts.name,
		Tags:       opts.tags,
		Timeout:    opts.timeout,
		Keep:       opts.keep,
		Stdout:     stdout,
		Stderr:     c.err,
		Kill:       kill,
		NoCache:    opts.noCache,
		Collected:  c.warnCollected,
		Progress: func(step string, total int64) (func(int64), func()) {
			p := c.startProgress(stepVerbs[step], total)
			return p.add, p.stop
		},
	})
	if err != nil {
		return unavailable(err)
	}
	return c.printRun(run, t.invocation.Runtime)
}

// watchCancel says what goes on when a run that is being cancelled does not end within a second,
// and closes kill at a second signal. The caller calls done at the end.
func (c *console) watchCancel(ctx context.Context) (kill <-chan struct{}, done func()) {
	signals, at := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, cancelSignals()...)
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-ctx.Done():
			select {
			case <-signals: // the same one
			case <-ended:
				return
			}
		case <-ended:
			return
		}
		second := time.NewTimer(time.Second)
		defer second.Stop()
		for {
			select {
			case <-second.C:
				if !c.quiet && !c.json {
					fmt.Fprintln(c.err, "cancelling, Ctrl-C again kills the command")
				}
			case <-signals:
				close(at)
				return
			case <-ended:
				return
			}
		}
	})
	return at, func() {
		signal.Stop(signals)
		close(ended)
		watch.Wait()
	}
}

// stepVerbs say what is under way in the steps of a run.
var stepVerbs = map[string]string{"hash": "hashing", "verify": "verifying", "pack": "packing", "upload": "storing"}

// printRun says how a run ended; in text, only if there is something to say. What a flow
// returned is the result; a command has printed its own.
func (c *console) printRun(run *submit.Run, runtime bundle.Runtime) error {
	var err error
	switch completed := run.State.Type == orchestrator.TypeCompleted; {
	case c.json:
		err = c.printJSON(run)
	case !completed && !c.quiet:
		fmt.Fprintln(c.err, paint(c.errStyled, red, "run "+shown(run.Name)+":"), ended(run.State))
		if run.State.Type == orchestrator.TypeCrashed && run.ExitCode == exitRefused {
			fmt.Fprintln(c.err, paint(c.errStyled, dim, "hint: "+packingHint(bundle.KindTampered, nil)))
		}
	case completed && runtime != bundle.RuntimeExec:
		err = c.print(func(w *bufio.Writer) {
			w.Write(run.Result)
			w.WriteByte('\n')
		})
	}
	if err != nil {
		return err
	}
	for _, err := range run.Warnings {
		c.warn("%v", err)
	}
	if run.Dir != "" { // also with -q: --keep asks for it
		fmt.Fprintln(c.err, "kept:", shown(run.Dir))
	}
	if run.ExitCode != 0 {
		return exitStatus(run.ExitCode)
	}
	return nil
}

func ended(s orchestrator.State) string {
	switch {
	case s.Message == "":
		return s.Name
	case strings.HasPrefix(s.Message, strings.ToLower(s.Name)):
		return s.Message
	}
	return s.Name + ": " + s.Message
}
