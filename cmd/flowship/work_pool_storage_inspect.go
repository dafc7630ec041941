package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/submit"
)

func newStorageInspectCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "inspect NAME",
		Short: "Show where the bundles of a work pool are stored",
		Long: `Inspect shows how the storage of a work pool is configured.

JSON: {"type", "upload": {…}, "execution": {…}}, the options of the two steps; {}
when it is not configured.`,
		Args: arguments("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runStorageInspect(cmd.Context(), c, args[0])
		},
	}
}

func runStorageInspect(ctx context.Context, c *console, name string) error {
	client, err := openClient(ctx)
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
		writeStorage(w, c.outStyled, storage)
	})
}

// writeStorage prints the options of both steps, once where they are the same.
func writeStorage(w *bufio.Writer, styled bool, s *submit.PoolStorage) {
	t := &table{head: []string{"SETTING", "VALUE"}}
	t.add(text("type"), text(s.Type))
	options := func(prefix string, of map[string]any) {
		for _, name := range slices.Sorted(maps.Keys(of)) {
			t.add(text(shown(prefix+name)), text(shown(optionText(of[name]))))
		}
	}
	same := s.Execution == nil || reflect.DeepEqual(s.Upload, s.Execution)
	if same {
		options("", s.Upload)
	} else {
		options("upload.", s.Upload)
		options("execution.", s.Execution)
	}
	t.write(w, styled)
}

// optionText is a step's option: a launcher as a shell would have it.
func optionText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	if list, ok := v.([]any); ok {
		var argv []string
		for _, token := range list {
			if s, ok := token.(string); ok {
				argv = append(argv, s)
			}
		}
		if len(argv) == len(list) {
			return shellLine(argv)
		}
	}
	line, err := jsonLine(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(line)
}
