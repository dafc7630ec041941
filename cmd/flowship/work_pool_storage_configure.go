package main

import (
	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
)

type storageConfigureLocalOptions struct {
	launcherFlags
	path string
}

func newStorageConfigureLocalCommand(c *console) *cobra.Command {
	opts := &storageConfigureLocalOptions{}
	cmd := &cobra.Command{
		Use:   "local NAME --path DIR",
		Short: "Store the bundles of a work pool in a directory",
		Long: `Local has the bundles of the work pool stored in a directory, and prints the work
pool's name. The tokens of an execution launcher stand in place of the flowship
program in the jobs' commands.

JSON: as of work-pool inspect.`,
		Example: `  flowship work-pool storage configure local nightly --path /srv/bundles`,
		Args:    arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.path == "" {
				return usagef("", "missing --path")
			}
			launcher, err := opts.launcher()
			if err != nil {
				return err
			}
			return c.withWorkPool(cmd.Context(), args[0], func(client *submit.Client) error {
				return client.ConfigureLocalStorage(cmd.Context(), args[0], opts.path, launcher)
			})
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.path, "path", "", "the `DIR`, made if need be")
	opts.launcherFlags.register(flags)
	return cmd
}
