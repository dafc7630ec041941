package main

import (
	"bufio"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
)

// storageKind is a type of storage as the command line has it.
type storageKind struct {
	use         string
	kind        submit.StorageType
	title       string // in the text for success
	place       string // flag
	placeHelp   string
	credentials string // flag; "" when there is none
	required    bool   // of the credentials
	about       string
	example     string
}

func storageKinds() []storageKind {
	return []storageKind{
		{
			use: "s3", kind: submit.StorageS3, title: "S3 storage", place: "bucket", placeHelp: "`NAME` of the bucket", credentials: "aws-credentials-block-name",
			about: `S3 has the bundles of the work pool stored in a bucket of Amazon S3, or of another
server that speaks its protocol: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL names it,
as for boto3.`,
			example: `  flowship work-pool storage configure s3 nightly --bucket acme-bundles
  flowship work-pool storage configure s3 nightly --bucket acme-bundles --launcher flowship`,
		},
		{
			use: "gcs", kind: submit.StorageGCS, title: "GCS storage", place: "bucket", placeHelp: "`NAME` of the bucket", credentials: "gcp-credentials-block-name",
			about:   `Gcs has the bundles of the work pool stored in a bucket of Google Cloud Storage.`,
			example: `  flowship work-pool storage configure gcs nightly --bucket acme-bundles`,
		},
		{
			use: "azure-blob-storage", kind: submit.StorageAzure, title: "Azure Blob Storage", place: "container", placeHelp: "`NAME` of the container",
			credentials: "azure-blob-storage-credentials-block-name", required: true,
			about: `Azure-blob-storage has the bundles of the work pool stored in a container of Azure
Blob Storage. Where flowship looks up no credentials block, AZURE_STORAGE_ACCOUNT
names the account.`,
			example: `  flowship work-pool storage configure azure-blob-storage nightly --container bundles \
    --azure-blob-storage-credentials-block-name acme`,
		},
		{
			use: "local", kind: submit.StorageLocal, title: "local storage", place: "path", placeHelp: "the `DIR`, made if need be",
			about:   `Local has the bundles of the work pool stored in a directory.`,
			example: `  flowship work-pool storage configure local nightly --path /srv/bundles`,
		},
	}
}

type storageConfigureOptions struct {
	launcherFlags
	place, credentials string
	reset              bool
}

func newStorageConfigureCommand(c *console, k storageKind) *cobra.Command {
	opts := &storageConfigureOptions{}
	cmd := &cobra.Command{
		Use:   k.use + " NAME --" + k.place + " " + map[bool]string{true: "DIR", false: "NAME"}[k.kind == submit.StorageLocal],
		Short: "Store the bundles of a work pool in " + storageNoun(k.kind),
		Long: k.about + `

Configuring it again changes what is named and leaves the rest: --` + k.place + map[bool]string{true: ", credentials", false: ""}[k.credentials != ""] + `
and launchers. --reset forgets what was configured. Where a run is launched from
here, the tokens of an execution launcher stand in place of the flowship program in
the job's command.

JSON: as of work-pool inspect.`,
		Example: k.example,
		Args:    arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runStorageConfigure(cmd.Context(), c, k, opts, args[0], cmd.Flags().Changed)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&opts.place, k.place, "", k.placeHelp)
	if k.credentials != "" {
		help := "`NAME` of the block with the credentials (default: those of the environment)"
		if k.required {
			help = "`NAME` of the block with the credentials"
		}
		flags.StringVar(&opts.credentials, k.credentials, "", help)
	}
	opts.launcherFlags.register(flags)
	flags.BoolVar(&opts.reset, "reset", false, "keep nothing of what is configured")
	return cmd
}

func storageNoun(k submit.StorageType) string {
	switch k {
	case submit.StorageS3:
		return "an S3 bucket"
	case submit.StorageGCS:
		return "a Google Cloud Storage bucket"
	case submit.StorageAzure:
		return "an Azure container"
	}
	return "a directory"
}

func runStorageConfigure(ctx context.Context, c *console, k storageKind, opts *storageConfigureOptions, name string, given func(string) bool) error {
	settings := submit.StorageSettings{Type: k.kind, Place: opts.place, Reset: opts.reset}
	if k.credentials != "" && given(k.credentials) {
		settings.Credentials = &opts.credentials
	}
	var err error
	if settings.Launcher, err = opts.launcher(); err != nil {
		return err
	}
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	before, err := client.Storage(ctx, name)
	if err != nil {
		return aboutWorkPool(err)
	}
	kept := before != nil && before.Type == k.kind && !opts.reset
	switch {
	case opts.place == "" && (!kept || given(k.place) || settings.Credentials == nil && settings.Launcher == nil):
		return usagef("", "missing --%s", k.place)
	case k.required && opts.credentials == "" && (!kept || given(k.credentials)):
		return usagef("", "missing --%s", k.credentials)
	}
	if err := client.ConfigureStorage(ctx, name, settings); err != nil {
		return aboutWorkPool(err)
	}
	if !c.json {
		return c.print(func(w *bufio.Writer) { fmt.Fprintf(w, "Configured %s for work pool '%s'\n", k.title, shown(name)) })
	}
	return c.printWorkPool(ctx, client, name)
}
