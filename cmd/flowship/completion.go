package main

import (
	"github.com/spf13/cobra"
)

func newCompletionCommand(c *console) *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion {bash|zsh|fish|powershell}",
		Short: "Print a completion script for a shell",
		Long:  `Completion prints a script that teaches a shell flowship's commands and flags.`,
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
