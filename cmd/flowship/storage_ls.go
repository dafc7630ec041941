package main

import (
	"bufio"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
)

func newStorageLsCommand(c *console) *cobra.Command {
	opts := &storeFlags{}
	cmd := &cobra.Command{
		Use:   "ls [--pool NAME | --url URL]",
		Short: "List what is in a store",
		Long: `Ls lists the objects of a store by their keys, each with its kind: document,
sidecar, program, result or other.

JSON: [{"key", "kind", "size", "modified"}].`,
		Example: `  flowship storage ls
  flowship storage ls --pool nightly
  flowship storage ls --url s3://acme-bundles`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStorageLs(cmd.Context(), c, opts)
		},
	}
	opts.register(cmd.Flags())
	return cmd
}

type objectJSON struct {
	Key      string            `json:"key"`
	Kind     submit.ObjectKind `json:"kind"`
	Size     int64             `json:"size"`
	Modified time.Time         `json:"modified"`
}

func runStorageLs(ctx context.Context, c *console, opts *storeFlags) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	url, err := opts.find(ctx, c, client)
	if err != nil {
		return err
	}
	objects, err := client.Objects(ctx, url)
	if err != nil {
		return unavailableStore(err)
	}
	if c.json {
		return c.writeJSON(func(j *jsonWriter) { writeObjects(j, objects) })
	}
	return c.print(func(w *bufio.Writer) { printObjects(w, c.outStyled, objects, time.Now()) })
}

func writeObjects(j *jsonWriter, objects []submit.StoredObject) {
	j.list(func() {
		for _, o := range objects {
			j.element(objectJSON{o.Key, o.Kind, o.Size, o.Modified.UTC()})
		}
	})
}

func printObjects(w *bufio.Writer, styled bool, objects []submit.StoredObject, now time.Time) {
	t := &table{head: []string{"KIND", ">SIZE", "AGE", "KEY"}}
	for _, o := range objects {
		t.add(text(string(o.Kind)), text(humanSize(o.Size)), text(humanAge(now.Sub(o.Modified))), text(shown(o.Key)))
	}
	t.write(w, styled)
}
