package main

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flowship/flowship/submit"
)

func newStorageCommand(c *console) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "List what is stored, and delete what nothing needs",
		Long: `A store holds documents, one for each submission; sidecars and programs, which
documents share; and results. Its URL is s3://bucket, gs://bucket,
azblob://container or file:///dir, with a prefix of all keys if need be:
s3://bucket/prefix. On a Prefect server, ?block=NAME has it opened with the
credentials in that block; --pool does so where the work pool names one.`,
	}
	group(cmd)
	cmd.AddCommand(newStorageLsCommand(c), newStorageGcCommand(c))
	return cmd
}

// storeFlags say which store is meant.
type storeFlags struct{ pool, url string }

func (o *storeFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&o.pool, "pool", "", "`NAME` of the work pool whose store it is")
	flags.StringVar(&o.url, "url", "", "`URL` of the store (default: the embedded default's, or on a Prefect server that of the default work pool)")
}

// find returns the URL of the store; "" is the embedded default's.
func (o *storeFlags) find(ctx context.Context, c *console, client *submit.Client) (string, error) {
	if o.pool != "" && o.url != "" {
		return "", usagef("", "both --pool and --url")
	}
	if o.url != "" || o.pool == "" && !c.onPrefect {
		return o.url, nil
	}
	url, _, err := client.StoreURL(ctx, o.pool)
	if err != nil {
		return "", aboutWorkPool(err)
	}
	return url, nil
}
