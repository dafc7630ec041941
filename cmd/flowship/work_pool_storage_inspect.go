package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
)

func newStorageInspectCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect NAME",
		Short: "Show where the bundles of a work pool are stored",
		Long: `Inspect shows how the storage of a work pool is configured. Options of the upload
and of the execution are shown once where they are the same.

JSON: {"type", "upload": {…}, "execution": {…}}, the options of the two steps; {}
when it is not configured.`,
		Args: arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runStorageInspect(cmd.Context(), c, args[0])
		},
	}
}

func runStorageInspect(ctx context.Context, c *console, name string) error {
	client, err := c.openClient(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	storage, err := client.Storage(ctx, name)
	switch {
	case err != nil:
		return aboutWorkPool(err)
	case c.json && storage == nil:
		return c.printJSON(struct{}{})
	case c.json:
		return c.printJSON(storage)
	}
	return c.print(func(w *bufio.Writer) {
		if storage == nil {
			fmt.Fprintln(w, paint(c.outStyled, yellow, fmt.Sprintf("No storage configuration found for work pool '%s'", shown(name))))
			return
		}
		writeStorage(w, c.outStyled, name, storage)
	})
}

// writeStorage prints the options of both steps, once where they are the same.
func writeStorage(w *bufio.Writer, styled bool, name string, s *submit.PoolStorage) {
	t := &table{head: []string{"Setting", "Value"}}
	t.add(text("type"), text(string(s.Type)))
	options := func(prefix string, of json.RawMessage) {
		for _, o := range pythonMembers(of) {
			t.add(text(shown(prefix+o.name)), text(shown(o.value)))
		}
	}
	same := reflect.DeepEqual(pythonMembers(s.Upload), pythonMembers(s.Execution))
	switch {
	case s.Upload != nil && (s.Execution == nil || same):
		options("", s.Upload)
	default:
		options("upload.", s.Upload)
		options("execution.", s.Execution)
	}
	fmt.Fprintln(w, paint(styled, bold, "Storage Configuration for "+shown(name)))
	t.write(w, styled)
}
