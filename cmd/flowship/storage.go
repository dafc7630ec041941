package main

import "github.com/spf13/cobra"

func newStorageCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "List what is stored, and delete what nothing needs",
		Long: `A store holds documents, one for each submission; sidecars and programs, which
documents share; and results. Its URL is s3://bucket, gs://bucket,
azblob://container or file:///dir, with a prefix of all keys if need be:
s3://bucket/prefix. Without --url it is the store of the embedded default.`,
	}
	group(cmd)
	cmd.AddCommand(newStorageLsCommand(c), newStorageGcCommand(c))
	return cmd
}
