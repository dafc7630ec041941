package main

import "github.com/spf13/cobra"

func newBundleCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Build, inspect, verify, compare, extract and store bundles",
		Long: `A bundle is a directory: bundle.json, the document that says what is called with
which arguments, and files/<digest>.zip, the sidecar with the files. Its digest
depends on names, permissions and contents alone, so the same files have the same
key on every machine and on every day, and it is the key that Prefect computes.

Files are chosen with --include, in order, as Prefect chooses them: a file, a
directory, or a pattern of .gitignore with *, ? or [; "!" takes away again from
what was chosen so far. Hidden files, caches and virtual environments are not found
by walking, and .prefectignore files have the last word.

REF is a bundle directory, its bundle.json, a sidecar zip alone, the URL of a store
with the key of a document or sidecar (s3://bucket/KEY, gs://bucket/KEY,
azblob://container/KEY, file:///store/KEY), a bundle in a container registry
(oci://REGISTRY/REPOSITORY:TAG or @sha256:…), or the id of a flow run.`,
	}
	group(cmd)
	cmd.AddCommand(
		newBuildCommand(c),
		newDigestCommand(c),
		newExplainCommand(c),
		newInspectCommand(c),
		newVerifyCommand(c),
		newExtractCommand(c),
		newDiffCommand(c),
		newPushCommand(c),
		newPullCommand(c),
	)
	return cmd
}
