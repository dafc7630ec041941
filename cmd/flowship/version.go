package main

import (
	"bufio"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
)

func newVersionCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Version prints the versions of flowship, of Go and of the bundle format, and the platform.

JSON: {"version", "go", "platform", "format"}.`,
		Args: arguments(),
		RunE: func(*cobra.Command, []string) error {
			return runVersion(c)
		},
	}
}

func runVersion(c *console) error {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	platform := runtime.GOOS + "/" + runtime.GOARCH
	if c.json {
		return c.writeJSON(func(j *jsonWriter) {
			j.object(func() {
				j.member("version", version)
				j.member("go", runtime.Version())
				j.member("platform", platform)
				j.member("format", bundle.FormatVersion)
			})
		})
	}
	return c.print(func(w *bufio.Writer) {
		fmt.Fprintf(w, "flowship %s (%s, %s, bundle format %d)\n", version, runtime.Version(), platform, bundle.FormatVersion)
	})
}
