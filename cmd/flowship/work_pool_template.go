package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"

	"github.com/spf13/cobra"
)

func newDefaultTemplateCommand(c *console) *cobra.Command {
	poolType := ""
	cmd := &cobra.Command{
		Use:   "get-default-base-job-template --type T",
		Short: "Print the default base job template of a type",
		Long: `Get-default-base-job-template prints, as JSON, the base job template that a work
pool of this type gets when it is made without one: that of Prefect's own worker.`,
		Example: `  flowship work-pool get-default-base-job-template --type process >job.json`,
		Args:    arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if poolType == "" {
				return errNoPoolType()
			}
			return runDefaultTemplate(cmd.Context(), c, poolType)
		},
	}
	cmd.Flags().StringVar(&poolType, "type", "", typeHelp)
	return cmd
}

func runDefaultTemplate(ctx context.Context, c *console, poolType string) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	template, err := client.BaseJobTemplate(ctx, poolType)
	if err != nil {
		return aboutWorkPool(err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, template, "", "  "); err != nil {
		return err
	}
	return c.print(func(w *bufio.Writer) {
		w.Write(pretty.Bytes())
		w.WriteByte('\n')
	})
}
