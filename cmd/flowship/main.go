// Command flowship packs a workflow invocation (what to call, its arguments, the files it needs) into
// a content-addressed bundle, proves what is in it, and runs it.
//
//	flowship bundle build flow.py:main --include data/ --out dist
//	flowship bundle verify dist
//	flowship run --include count.sh --include texts/ -- sh count.sh
//
// This package is flags and printing. A command is one file: newXCommand declares its flags
// into a struct of options, runX makes one call into the library and prints what it returned.
// What went wrong gets its exit code and its hint in errors.go. docs/ is the reference.
package main

import (
	"context"
	"os"
	"os/signal"
)

//go:generate go test -count=1 -run ^TestReference$ . -update

func main() { os.Exit(run(newConsole(os.Stdin, os.Stdout, os.Stderr))) }

func run(c *console) int {
	ignoreFileSizeSignal()
	ctx, stop := signal.NotifyContext(context.Background(), cancelSignals()...)
	defer stop()
	// A second signal ends what takes too long to end, unless the command attends to it.
	defer context.AfterFunc(ctx, stop)()
	quietDrivers()
	return c.execute(ctx, os.Args[1:])
}
