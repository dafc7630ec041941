package main

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flowship/flowship/launch"
)

// execute runs one command line and returns the exit code.
func (c *console) execute(ctx context.Context, args []string) int {
	args, module, isModule := splitModule(args)
	c.json = wantsJSON(args)
	root := newRootCommand(c)
	root.SetArgs(args)
	for _, arg := range slices.Concat(args, module) {
		if !utf8.ValidString(arg) { // JSON, of which documents are made, cannot hold it
			return c.fail(ctx, root, usagef("", "the argument %q is not UTF-8", arg))
		}
	}
	if isModule {
		c.quiet = len(args) > 0
		return runModule(ctx, c, root, module)
	}
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil {
		return c.fail(ctx, cmd, err)
	}
	return 0
}

// wantsJSON looks for -o json before flags are parsed, because errors of the flags themselves
// are JSON then as well.
func wantsJSON(args []string) bool {
	last := ""
	for i, arg := range args {
		if arg == "--" {
			break
		}
		for _, flag := range []string{"--output=", "-o=", "-o"} {
			if value, ok := strings.CutPrefix(arg, flag); ok && value != "" {
				last = value
				break
			}
		}
		if (arg == "-o" || arg == "--output") && i+1 < len(args) {
			last = args[i+1]
		}
	}
	return last == "json"
}

func newRootCommand(c *console) *cobra.Command {
	output := "text"
	root := &cobra.Command{
		Use:   "flowship",
		Short: "Pack a workflow invocation with its files, prove what is in it, run it",
		Long: `Flowship packs a workflow invocation (what to call, its arguments, the files it
needs) into a content-addressed bundle, proves what is in it, and runs it: at once
(run), in the background (submit), or by the workers of a work pool.

Standard output carries a command's result and nothing else. Exit codes: 0 done;
1 a flow run that did not complete (run, flow-run wait, flow-run result), or a
difference (bundle diff); 2 bad usage or bad input; 3 a bundle that does not verify,
or that is refused; 4 not found; 5 storage or backend not available; 124 timed out;
130 interrupted. With "run -- COMMAND" it is the command's own.

With -o json the result is one JSON document, and an error one line on standard
error, {"error": {"kind", "message", "hint"}}. Kinds: usage empty whitespace
null_byte absolute traversal symlink_loop invalid_pattern unreadable not_found
tampered changed refused conflict unauthorized unavailable timeout internal. That
of an interruption is unavailable.

"flowship -m MODULE OPTIONS" stands in for "python -m MODULE OPTIONS", for the modules
that Prefect starts for bundles: it is a launcher for Prefect's work pools.

Flow runs and work pools live on the Prefect server that Prefect's own settings name:
PREFECT_API_URL, PREFECT_API_KEY or PREFECT_API_AUTH_STRING and their like, in the
environment, .env, prefect.toml, pyproject.toml or the active profile (PREFECT_PROFILE).
If they name none, flowship serves itself, below FLOWSHIP_HOME.

Environment: FLOWSHIP_HOME holds state and cache (default: the directories of the
system for them); FLOWSHIP_PYTHON runs Python flows (default: python3 in PATH); go
in PATH builds flows in Go; with NO_COLOR there is no colour.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if _, ok := cmd.Annotations[packing]; ok && os.Getenv("GOGC") == "" {
				// What packing allocates it mostly keeps: a tree of 100,000 files is hashed
				// in an eighth less time, for 10 MiB more.
				debug.SetGCPercent(200)
			}
			if output != "text" && output != "json" {
				return usagef("", "unknown output format %q: want text or json", output)
			}
			c.json = output == "json"
			return c.useProfile()
		},
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&output, "output", "o", output, "`FORMAT` of the result and of errors: text or json")
	flags.BoolVarP(&c.quiet, "quiet", "q", false, "no warnings and no progress")
	flags.StringVar(&c.profile, "profile", "", "`NAME` of the Prefect profile whose settings count")
	root.SetFlagErrorFunc(aboutFlag)
	root.SetHelpCommand(newHelpCommand())
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.CompletionOptions.DisableDefaultCmd = true
	group(root)
	root.AddCommand(
		newRunCommand(c), newSubmitCommand(c), newSubmitToWorkPoolCommand(c), newFlowRunCommand(c), newWorkPoolCommand(c), newWorkerCommand(c),
		newBundleCommand(c), newImageCommand(c), newStorageCommand(c), newStepCommand(c), newDoctorCommand(c), newVersionCommand(c), newCompletionCommand(c),
	)
	withoutFlagsInUse(root)
	completions(c, root)
	return root
}

// withoutFlagsInUse keeps cobra from writing [flags] behind -- COMMAND.
func withoutFlagsInUse(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	for _, sub := range cmd.Commands() {
		withoutFlagsInUse(sub)
	}
}

// group makes cmd one that only holds others: alone it shows its help, with an unknown name it
// fails.
func group(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		hint := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + cmd.CommandPath() + " " + near[0] + "?"
		}
		return usagef(hint, "unknown command %q for %q", args[0], cmd.CommandPath())
	}
}

// arguments checks how many arguments a command got; names are what the usage line calls them.
func arguments(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usagef("", "missing argument %s", names[len(args)])
		}
		if len(args) > len(names) {
			return usagef("", "unexpected argument %q", args[len(names)])
		}
		return nil
	}
}

// aboutFlag says which flag may have been meant.
func aboutFlag(cmd *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := launch.Nearest(unknown.GetSpecifiedName(), slices.Values(names)); near != "" && unknown.GetSpecifiedShortnames() == "" {
			return &usageError{err: err, hint: "did you mean --" + near + "?"}
		}
	}
	return &usageError{err: err}
}

// newHelpCommand stands in for cobra's, which shows the help of another command where there is
// none of the name.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND...]",
		Short: "Show the help of a command",
		Long:  `Help shows what --help shows.`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if of, _, err := cmd.Root().Find(args); err == nil {
				for _, sub := range of.Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, sub.Name()+"\t"+sub.Short)
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("flowship --help shows the commands", "unknown command %q", strings.Join(args, " "))
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}
