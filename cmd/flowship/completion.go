package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/orchestrator"
)

func newCompletionCommand(c *console) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion {bash|zsh|fish|powershell}",
		Short: "Print a completion script for a shell",
		Long: `Completion prints a script that teaches a shell flowship's commands and flags,
and the names of flow runs and work pools.`,
		Example: `  source <(flowship completion bash)
  flowship completion zsh > "${fpath[1]}/_flowship"
  flowship completion fish > ~/.config/fish/completions/flowship.fish
  flowship completion powershell | Out-String | Invoke-Expression`,
		ValidArgs: shells,
		Args:      arguments("SHELL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCompletion(c, cmd.Root(), args[0])
		},
	}
}

func runCompletion(c *console, root *cobra.Command, shell string) error {
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(c.out, true)
	case "zsh":
		return root.GenZshCompletion(c.out)
	case "fish":
		return root.GenFishCompletion(c.out, true)
	case "powershell":
		return root.GenPowerShellCompletionWithDesc(c.out)
	}
	return usagef("", "unknown shell %q: want bash, zsh, fish or powershell", shell)
}

// completionTime is how long somebody who pressed a key waits for a server.
const completionTime = 2 * time.Second

// completions has a shell propose names for the arguments and flags of cmd and those below it.
func completions(c *console, cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		completions(c, sub)
	}
	// An error is one of names that are not there.
	for name, propose := range map[string]cobra.CompletionFunc{
		"pool": c.workPoolNames, "output": fixed("text", "json"), "type": fixed("process", "docker", "kubernetes"),
	} {
		if cmd.LocalFlags().Lookup(name) != nil {
			_ = cmd.RegisterFlagCompletionFunc(name, propose)
		}
	}
	_, argument, _ := strings.Cut(cmd.Use, " ")
	switch path := cmd.CommandPath() + " "; {
	case cmd.ValidArgsFunction != nil || cmd.Name() == "create":
	case strings.HasPrefix(path, "flowship flow-run ") && strings.HasPrefix(argument, "ID"):
		cmd.ValidArgsFunction = onceUnless(strings.HasPrefix(argument, "ID..."), c.flowRunNames)
	case strings.HasPrefix(path, "flowship work-pool ") && strings.HasPrefix(argument, "NAME"):
		cmd.ValidArgsFunction = onceUnless(false, c.workPoolNames)
	}
}

func fixed(words ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
}

// onceUnless proposes something for the first argument alone, unless there may be several.
func onceUnless(several bool, propose cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 && !several {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return propose(cmd, args, begun)
	}
}

func (c *console) flowRunNames(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.names(cmd, func(ctx context.Context, client *submit.Client) (names []cobra.Completion, err error) {
		runs, err := client.FlowRuns(ctx, orchestrator.Filter{Limit: 50})
		for _, r := range runs {
			names = append(names, cobra.CompletionWithDesc(shown(r.Name), r.State.Name))
		}
		return names, err
	})
}

func (c *console) workPoolNames(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return c.names(cmd, func(ctx context.Context, client *submit.Client) (names []cobra.Completion, err error) {
		pools, err := client.WorkPools(ctx)
		for _, p := range pools {
			names = append(names, cobra.CompletionWithDesc(shown(p.Name), p.Type))
		}
		return names, err
	})
}

func (c *console) names(cmd *cobra.Command, list func(context.Context, *submit.Client) ([]cobra.Completion, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	if err := c.useProfile(); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	client, err := c.openClient(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer client.Close()
	names, err := list(ctx, client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// useProfile has the profile count, also for the processes that are started from here.
func (c *console) useProfile() error {
	if c.profile == "" {
		return nil
	}
	return os.Setenv("PREFECT_PROFILE", c.profile)
}
