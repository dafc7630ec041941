// Command flowship-executor is flowship's executor alone, for images: it runs one bundle and knows
// no cloud's storage, no database and no infrastructure.
//
//	flowship-executor step execute --url file:///flowship/store --key bundle.json --digest sha256:…
//
// The command line is that of flowship, so that the one may stand in place of the other. Bundles
// come from folders, or by the signed URLs that a launcher hands over in the environment, with
// which no credentials are needed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"

	"github.com/flowship/flowship/submit/execute"
)

const usage = `usage: flowship-executor step execute ` + execute.StepUsage + `

Fetch a bundle from a folder, or by the signed URLs in ` + execute.EnvSigned + `, verify it and
run it in the current directory. The exit code is the command's own, or 1 if the flow did not
return; 2: bad usage; 3: the bundle does not verify; 4: it is not there; 5: the store does not
answer.`

// exitUsage is the code of a command line that cannot be meant.
const exitUsage = 2

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	log.SetOutput(io.Discard) // libraries log URLs in full; what matters they return
	if len(args) == 1 && (args[0] == "--help" || args[0] == "-h" || args[0] == "help") {
		fmt.Fprintln(stdout, usage)
		return 0
	}
	if len(args) < 2 || args[0] != "step" || args[1] != "execute" {
		fmt.Fprintln(stderr, usage)
		return exitUsage
	}
	step, err := execute.ParseStep(args[2:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(stdout, usage)
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "error: %v\nhint: see flowship-executor --help\n", err)
		return exitUsage
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, execute.PassedOn()...)
	defer signal.Stop(signals)
	opts, err := options()
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return execute.ExitUnavailable
	}
	opts.Signals, opts.Results, opts.Stdout, opts.Stderr = signals, step.Results, stdout, stderr
	record, err := execute.Run(ctx, step.URL, step.Key, step.Digest, opts)
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
	}
	if record == nil || err != nil && record.ExitCode == 0 {
		return execute.ExitUnavailable
	}
	return record.ExitCode
}

// options is what the environment says. Who is told of the run besides its record, Runs and Logs,
// would be opened here.
func options() (*execute.Options, error) {
	opts := &execute.Options{}
	var err error
	if text := os.Getenv(execute.EnvSigned); text != "" {
		opts.Signed, err = execute.ParseSigned(text)
	}
	return opts, err
}
