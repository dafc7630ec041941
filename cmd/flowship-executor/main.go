// Command flowship-executor is flowship's executor alone, for containers: it runs one bundle and
// knows no cloud's storage, no database and no infrastructure.
//
//	flowship-executor step execute --url file:///flowship/store --key bundle.json --digest sha256:…
//
// The command line is that of flowship, so that the one may stand in place of the other, and so is
// what it does. Bundles come from folders, from container registries, or by the signed URLs that a
// launcher hands over in the environment, with which no credentials are needed. Where the
// environment names a Prefect server, its flow run is told.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/flowship/flowship/bundle/oci"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/execute/executor"
)

const usage = `usage: flowship-executor step execute ` + executor.StepUsage + `

Fetch a bundle from a folder (file://…) or a container registry (oci://…), or by the
signed URLs in ` + execute.EnvSigned + `, verify it and run it in the current directory. Where
PREFECT_API_URL is set, the server is told how it goes. The exit code is the command's
own, or 1 if the flow did not return; 2: bad usage; 3: the bundle does not verify, or is
not to be run; 4: it is not there; 5: the store or the server does not answer.`

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
	step, err := executor.ParseStep(args[2:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(stdout, usage)
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "error: %v\nhint: see flowship-executor --help\n", err)
		return exitUsage
	}
	record, err := executor.Run(ctx, *step, &executor.Options{Registry: fetch, Stdout: stdout, Stderr: stderr})
	if untold := executor.Untold(record, err); untold != nil {
		fmt.Fprintln(stderr, "error:", untold)
	}
	return executor.ExitCode(record, err)
}

func fetch(ctx context.Context, url, dir string) error {
	_, err := oci.Fetch(ctx, url, dir, nil)
	return err
}
