package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestReference compares docs/ with the commands' own help, the guides and the templates of the
// infrastructures, from which `go generate` writes it.
func TestReference(t *testing.T) {
	want := map[string]string{}
	addReference(want, newRootCommand(&console{}))
	addInfrastructures(t, want)
	if *update {
		writeReference(t, want)
	}
	got := map[string]string{}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		got[filepath.Base(page)] = string(text)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/ is not current; run go generate ./cmd/flowship (-want +got):\n%s", diff)
	}
}

func writeReference(t *testing.T, pages map[string]string) {
	if err := os.RemoveAll("docs"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("docs", 0o777); err != nil {
		t.Fatal(err)
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join("docs", name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func addReference(pages map[string]string, cmd *cobra.Command) {
	if cmd.Hidden || cmd.Name() == "help" {
		return
	}
	pages[pageName(cmd)] = referencePage(cmd)
	for _, sub := range cmd.Commands() {
		addReference(pages, sub)
	}
}

func pageName(cmd *cobra.Command) string {
	return strings.ReplaceAll(cmd.CommandPath(), " ", "_") + ".md"
}

func referencePage(cmd *cobra.Command) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n%s.\n\n", cmd.CommandPath(), cmd.Short)
	if !cmd.HasSubCommands() {
		fmt.Fprintf(&b, "```\n%s\n```\n\n", cmd.UseLine())
	}
	fmt.Fprintf(&b, "%s\n", strings.TrimSpace(cmd.Long))
	if cmd.HasSubCommands() {
		b.WriteString("\n## Commands\n\n")
		for _, sub := range cmd.Commands() {
			if sub.Name() != "help" && !sub.Hidden {
				fmt.Fprintf(&b, "- [%s](%s): %s\n", sub.CommandPath(), pageName(sub), sub.Short)
			}
		}
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\n## Examples\n\n```sh\n%s\n```\n", unindent(cmd.Example))
	}
	writeFlags(&b, "Flags", cmd.NonInheritedFlags())
	writeFlags(&b, "Flags of every command", cmd.InheritedFlags())
	if cmd.HasParent() {
		fmt.Fprintf(&b, "\nSee also [%s](%s).\n", cmd.Parent().CommandPath(), pageName(cmd.Parent()))
	}
	return b.String()
}

func writeFlags(b *bytes.Buffer, title string, flags *pflag.FlagSet) {
	if flags.HasAvailableFlags() {
		fmt.Fprintf(b, "\n## %s\n\n```\n%s```\n", title, flags.FlagUsages())
	}
}

func unindent(example string) string {
	return strings.TrimSpace(strings.ReplaceAll("\n"+example, "\n  ", "\n"))
}
