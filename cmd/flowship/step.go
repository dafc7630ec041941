package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/execute/executor"
)

func newStepCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "step",
		Short: "What runs in the infrastructure",
		Long:  `Steps are launched by flowship itself where a flow run shall be executed.`,
	}
	group(cmd)
	cmd.AddCommand(newStepUploadCommand(c), newStepExecuteCommand(c), newStepLaunchCommand(c), newStepDeploymentCommand())
	return cmd
}

type stepExecuteOptions struct {
	url, key, digest, resultURL string
}

func newStepExecuteCommand(c *console) *cobra.Command {
	opts := &stepExecuteOptions{}
	cmd := &cobra.Command{
		Use:   "execute --url URL [--key KEY] --digest sha256:… [--result-url URL]",
		Short: "Fetch a bundle, verify it, run it here",
		Long: `Execute fetches the document KEY from the store and its sidecar, verifies both
against the digest, extracts the files into the current directory and runs the
command or the flow there; where PREFECT_API_URL is set, a flow in Python is run by
Prefect, for a flow run of that server. Nothing runs of a bundle that is not the one
with this digest. A bundle in a registry, as bundle push brings it there, leaves its
record in the store of --result-url alone.

It exits with the command's own code, or 1 if the flow did not return; 3: the bundle
does not verify, 4: it is not there, or no Python for its flow. Why the run did not
complete is said on standard error, unless the command said it by its exit code or a
flow run is told.`,
		Example: `  flowship step execute --url file:///var/lib/bundles --key 0b3c… --digest sha256:9f86…`,
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStepExecute(cmd.Context(), c, opts)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.url, "url", "", "`URL` of the store, or of the bundle in a registry, oci://…")
	flags.StringVar(&opts.key, "key", "", "`KEY` of the document in the store (in a registry: bundle.json)")
	flags.StringVar(&opts.digest, "digest", "", "what the document must hash to: `sha256:…`")
	flags.StringVar(&opts.resultURL, "result-url", "", "`URL` of the store that gets the run's record (default: the bundle's)")
	return cmd
}

func runStepExecute(ctx context.Context, c *console, opts *stepExecuteOptions) error {
	if opts.key == "" && oci.IsReference(opts.url) {
		opts.key = execute.RegistryKey
	}
	for _, flag := range []struct{ name, value string }{{"url", opts.url}, {"key", opts.key}, {"digest", opts.digest}} {
		if flag.value == "" {
			return usagef("", "missing --%s", flag.name)
		}
	}
	digest, err := bundle.ParseDigest(opts.digest)
	if err != nil {
		return &usageError{err: err}
	}
	record, err := submit.Execute(ctx, submit.Step{
		Step:    executor.Step{URL: opts.url, Key: opts.key, Digest: digest, Results: opts.resultURL},
		Storage: &storage.OpenOptions{Openers: openers()},
		Registry: func(ctx context.Context, url, dir string) error {
			_, err := oci.Fetch(ctx, url, dir, nil)
			return err
		},
	})
	return executed(record, err)
}

// executed is what is left to say of what an executor returned, and its exit code.
func executed(record *execute.Record, err error) error {
	untold := executor.Untold(record, err)
	switch {
	case untold != nil && err == nil:
		return &hinted{err: untold, kind: kindUnavailable, code: record.ExitCode}
	case untold != nil && record != nil:
		return &hinted{err: err, hint: executingHint(err), code: record.ExitCode}
	case untold != nil:
		return unavailable(err)
	case record.ExitCode != 0:
		return exitStatus(record.ExitCode)
	}
	return nil
}
