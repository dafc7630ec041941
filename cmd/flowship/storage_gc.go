package main

import (
	"bufio"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit"
)

type storageGcOptions struct {
	storeFlags
	minAge time.Duration
	delete bool
}

func newStorageGcCommand(c *console) *cobra.Command {
	opts := &storageGcOptions{}
	cmd := &cobra.Command{
		Use:   "gc [--pool NAME | --url URL] [--min-age DURATION] [--delete]",
		Short: "Delete the sidecars and programs that no document names",
		Long: `Gc reads all documents of a store and finds the sidecars and programs that none of
them names. It shows them; with --delete it deletes them. Documents and results stay.
When a document cannot be read, nothing is deleted.

It may run while others submit: flowship looks, after it has stored a document,
whether what the document names is still there, and gc looks for new documents
before it deletes anything. Prefect's own uploads do not look. --min-age, by the
store's clock, keeps what they stored lately.

JSON: {"deleted", "objects": as of storage ls, "size", "too_young", "named",
"documents"}; size is that of the objects, the others are numbers of sidecars and
programs.`,
		Example: `  flowship storage gc --pool nightly
  flowship storage gc --url s3://acme-bundles --min-age 168h --delete`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStorageGc(cmd.Context(), c, opts)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	opts.storeFlags.register(flags)
	flags.DurationVar(&opts.minAge, "min-age", 24*time.Hour, "leave alone what is younger")
	flags.BoolVar(&opts.delete, "delete", false, "delete what is found")
	return cmd
}

func runStorageGc(ctx context.Context, c *console, opts *storageGcOptions) error {
	if opts.minAge < 0 {
		return usagef("", "--min-age %v is negative", opts.minAge)
	}
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	url, err := opts.find(ctx, c, client)
	if err != nil {
		return err
	}
	found, err := client.Garbage(ctx, url, &submit.GarbageOptions{MinAge: opts.minAge, Delete: opts.delete})
	if err != nil {
		return aboutGarbage(err)
	}
	if c.json {
		return c.writeJSON(func(j *jsonWriter) {
			j.object(func() {
				j.member("deleted", opts.delete)
				j.key("objects")
				writeObjects(j, found.Objects)
				j.member("size", found.Size())
				j.member("too_young", found.Young)
				j.member("named", found.Named)
				j.member("documents", found.Documents)
			})
		})
	}
	err = c.print(func(w *bufio.Writer) {
		if len(found.Objects) > 0 {
			printObjects(w, c.outStyled, found.Objects, time.Now())
			w.WriteByte('\n')
		}
		verb := "not named by any document"
		if opts.delete {
			verb = "deleted"
		}
		fmt.Fprintf(w, "%s, %s %s\n", count(len(found.Objects), "object"), humanSize(found.Size()), verb)
		fmt.Fprintf(w, "%s named by %s; %s too young\n", grouped(found.Named), count(found.Documents, "document"), grouped(found.Young))
	})
	if err == nil && !opts.delete && len(found.Objects) > 0 && !c.quiet {
		fmt.Fprintln(c.err, paint(c.errStyled, dim, "nothing was deleted: --delete does it"))
	}
	return err
}

// aboutGarbage says what to do about a document that stands in the way.
func aboutGarbage(err error) error {
	switch kindOf(err) {
	case kind(bundle.KindTampered), kind(bundle.KindRefused), kind(bundle.KindUnreadable):
		return &hinted{err: err, hint: "nothing was deleted; delete the document if nobody needs it, then try again"}
	}
	return unavailableStore(err)
}
