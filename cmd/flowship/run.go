package main

import (
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
		Use:         "run --include PATTERN... -- COMMAND...",
		Short:       "Run a command with its files, away from where they are",
		Annotations: map[string]string{packing: ""},
		Long: `Run packs the files into a bundle, stores it, records a flow run, and has the
command executed in a directory that holds these files and nothing else. It waits,
passes the command's output through, and exits with the command's own code. What is
stored was packed once: the same files are not stored again.

The command finds its arguments as JSON in $FLOWSHIP_PARAMETERS and in the file
$FLOWSHIP_PARAMETERS_FILE. JSON that it writes to the file $FLOWSHIP_RESULT is the
run's result. It has no standard input. Ctrl-C cancels the run: the command gets
SIGINT, 10 seconds later SIGTERM, and after 10 more SIGKILL. A second Ctrl-C kills it
at once.

JSON: {"id", "name", "state": {"type", "name", "message", "timestamp"}, "work_pool",
"parameters", "result", "bundle": {"url", "key", "files_key", "uploaded_bytes",
"reused_bytes"}, "timings": {"collect", "hash", "upload", "create", "launch", "run"}}
with seconds. The command's output then goes to standard error.`,
		Example: `  flowship run --include count.sh --include texts/ -- sh count.sh
  flowship run --include train.py -p epochs=3 --timeout 1h -- python train.py`,
		RunE: func(cmd *cobra.Command, args []string) error {
			before, command, err := splitArgs(cmd, args)
			switch {
			case err != nil:
				return err
			case len(before) > 0:
				return usagef("put -- before the command", "unexpected argument %q: run takes a command", before[0])
			case command == nil:
				return usagef("", "missing -- COMMAND")
			case opts.timeout < 0:
				return usagef("", "--timeout %v is negative", opts.timeout)
			}
			return runRun(cmd.Context(), c, opts, command)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	opts.registerFiles(flags)
	opts.parameters.register(flags)
	flags.StringVar(&opts.name, "name", "", "`NAME` of the flow run (default: a random one)")
	flags.StringArrayVar(&opts.tags, "tag", nil, "a `TAG` of the flow run; repeatable")
	flags.DurationVar(&opts.timeout, "timeout", 0, "how long the command may run: 90s, 1h30m (default: without end)")
	flags.BoolVar(&opts.keep, "keep", false, "leave the working directory behind, and print where it is")
	registerNoCache(flags, &opts.noCache)
	return cmd
}

func runRun(ctx context.Context, c *console, opts *runOptions, command []string) error {
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
	if c.json {
		stdout = c.err
	}
	kill, done := c.watchCancel(ctx)
	defer done()
	run, err := client.RunCommand(ctx, submit.CommandRun{
		Dir:        opts.dir,
		Include:    opts.include,
		Command:    command,
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
	return c.printRun(run)
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

// printRun says how a run ended; in text, only if there is something to say.
func (c *console) printRun(run *submit.Run) error {
	if c.json {
		if err := c.printJSON(run); err != nil {
			return err
		}
	} else if run.State.Type != orchestrator.TypeCompleted && !c.quiet {
		fmt.Fprintln(c.err, paint(c.errStyled, red, "run "+shown(run.Name)+":"), ended(run.State))
		if run.State.Type == orchestrator.TypeCrashed && run.ExitCode == exitRefused {
			fmt.Fprintln(c.err, paint(c.errStyled, dim, "hint: "+packingHint(bundle.KindTampered, nil)))
		}
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
