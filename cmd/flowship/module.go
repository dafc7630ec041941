package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
)

// splitModule finds -m MODULE, which like Python's takes all that follows, before any command.
func splitModule(args []string) (before, module []string, found bool) {
	for i, arg := range args {
		switch {
		case arg == "-m":
			return args[:i], args[i+1:], true
		case strings.HasPrefix(arg, "-m") && !strings.HasPrefix(arg, "--"):
			return args[:i], append([]string{arg[len("-m"):]}, args[i+1:]...), true
		case arg != "-q" && arg != "--quiet":
			return args, nil, false
		}
	}
	return args, nil, false
}

// runModule runs a module as "python -m" would. Prefect reads what it prints and its exit code,
// so it prints nothing of its own form.
func runModule(ctx context.Context, c *console, root *cobra.Command, args []string) int {
	m, err := submit.ParseModule(args)
	if err != nil {
		if usage, ok := errors.AsType[*submit.ModuleUsageError](err); ok && usage.Hint != "" {
			fmt.Fprintln(c.out, usage.Hint)
			return 1
		}
		return c.fail(ctx, root, &usageError{err: err, hint: "flowship -m MODULE stands in for python -m MODULE"})
	}
	code, err := m.Run(ctx, &submit.ModuleOptions{Openers: openers(), Warn: func(text string) { c.warn("%s", text) }})
	if err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return exitInterrupted
		}
		fmt.Fprintln(c.err, err)
	}
	return code
}
