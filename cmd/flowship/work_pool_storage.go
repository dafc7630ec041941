package main

import "github.com/spf13/cobra"

func newWorkPoolStorageCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "Say where the bundles of a work pool are stored",
		Long: `The bundles of a work pool are stored in flowship's own directory, unless its
storage is configured.`,
	}
	group(cmd)
	configure := &cobra.Command{
		Use:   "configure",
		Short: "Configure the storage of a work pool",
		Long:  `Configure has the bundles of a work pool stored elsewhere from now on.`,
	}
	group(configure)
	for _, k := range storageKinds() {
		configure.AddCommand(newStorageConfigureCommand(c, k))
	}
	cmd.AddCommand(configure, newStorageInspectCommand(c))
	return cmd
}
