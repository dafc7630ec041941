package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
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
	flowFlags
	keep bool
}

func newRunCommand(c *console) *cobra.Command {
	opts := &runOptions{}
	cmd := &cobra.Command{
		Use:         "run [ENTRYPOINT] --include PATTERN... [-- COMMAND...]",
		Short:       "Run a command or a flow with its files, away from where they are",
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
python3 in PATH. The function of a Prefect flow is called without Prefect's engine;
PREFECT_API_URL must not be set. A flow in Go is named by the directory of its
package main, path/dir:name or path/main.go:name, which go build makes a program of;
the program travels. --param and --params are a flow's arguments, checked before it
runs. What it returns is printed as one line of JSON; what it prints and logs goes
to standard error. The exit code is 0 if it returned, 1 if it did not.

What a run prints and logs is kept: flowship flow-run logs. -v sets variables of the
work pool's base job template, such as env. The tokens of an execution launcher
stand in place of the flowship program in the job's command.

A job gets at its store with credentials of its own, or --storage-access signed
gives it URLs that are signed when it is launched: to get its document, files and
program, and to put its result. They last for --timeout, of all attempts, and an
hour more, without --timeout for 12 hours, and 7 days at most. Signed by temporary
credentials of AWS they end with these. The job variable storage_access does the
same. A folder needs no signed access.

Programs that are put into a container are for the platform of its image or its
nodes; the job variable platform, linux/arm64, says another one.

JSON: {"id", "name", "state": {"type", "name", "message", "timestamp"}, "work_pool",
"parameters", "result", "bundle": {"url", "key", "files_key", "uploaded_bytes",
"reused_bytes"}, "timings": {"collect", "hash", "upload", "create", "launch",
"run"}} with seconds. A command's output then goes to standard error.`,
		Example: `  flowship run --include count.sh --include texts/ -- sh count.sh
  flowship run flows/etl.py:main --include 'data/*.csv' -p least=40
  flowship run flows/wordcount:WordCount --include 'texts/' --retries 2
  flowship run --include train.py -v env='{"MODE": "fast"}' -- python train.py`,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := opts.flowTarget(cmd, args)
			if err != nil {
				return err
			}
			return runRun(cmd.Context(), c, opts, t)
		},
	}
	opts.register(cmd.Flags())
	cmd.Flags().BoolVar(&opts.keep, "keep", false, "leave the working directory behind, and print where it is")
	return cmd
}

func runRun(ctx context.Context, c *console, opts *runOptions, t *target) error {
	inv, err := opts.read(ctx, c, t)
	if err != nil {
		return err
	}
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	inv.Keep, inv.Stdout, inv.Stderr = opts.keep, c.out, c.err
	if c.json || inv.Runtime != bundle.RuntimeExec {
		inv.Stdout = c.err // the result is what belongs on stdout
	}
	kill, done := c.watchCancel(ctx, "cancelling, Ctrl-C again kills the command")
	defer done()
	inv.Kill = kill
	run, err := client.Run(ctx, inv)
	if err != nil {
		return aboutSubmission(err)
	}
	return c.printRun(run, inv.Runtime)
}

// watchCancel closes kill at a second signal, and says what goes on when nothing has ended a
// second after the first one; "" says nothing. The caller calls done at the end.
func (c *console) watchCancel(ctx context.Context, notice string) (kill <-chan struct{}, done func()) {
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
				if notice != "" && !c.quiet && !c.json {
					fmt.Fprintln(c.err, notice)
				}
			case <-signals:
				close(at)
				signal.Stop(signals) // a third one ends this process
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
		var line bytes.Buffer // a result of Prefect's may have spaces, and more lines
		if err = json.Compact(&line, run.Result); err == nil {
			err = c.print(func(w *bufio.Writer) {
				w.Write(line.Bytes())
				w.WriteByte('\n')
			})
		}
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
