package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/flowship/flowship/launch"
	"github.com/flowship/flowship/launch/processinfra"
	"github.com/flowship/flowship/submit/worker"
)

// addInfrastructures adds a page for each type of work pools whose runs flowship launches: its
// guide, where there is one, and the job variables of its base job template.
func addInfrastructures(t *testing.T, pages map[string]string) {
	t.Helper()
	all := infrastructures()
	all[processinfra.Type] = launch.New(processinfra.Type, processinfra.New(nil))
	const pools = "flowship_work-pool.md"
	pages[pools] += "\n## Types\n\n"
	for _, kind := range slices.Sorted(maps.Keys(all)) {
		template := all[kind].Template()
		guide, err := os.ReadFile(filepath.Join("guides", kind+".md"))
		if errors.Is(err, fs.ErrNotExist) {
			guide = fmt.Appendf(nil, "# Work pools of type %s\n", kind)
		} else if err != nil {
			t.Fatal(err)
		}
		checkGuide(t, kind, guide, template)
		page := "infrastructure_" + kind + ".md"
		pages[page] = string(guide) + variablesTable(kind, template)
		pages[pools] += fmt.Sprintf("- [%s](%s): how to use it, and its job variables\n", kind, page)
	}
}

// told is a line about a job variable, or several.
var told = regexp.MustCompile("(?m)^- (`[a-z_]+`(?:, `[a-z_]+`)*):")

// checkGuide finds job variables that a guide is about and that are not there.
func checkGuide(t *testing.T, kind string, guide []byte, template *launch.Template) {
	t.Helper()
	for _, line := range told.FindAllSubmatch(guide, -1) {
		for name := range strings.SplitSeq(string(line[1]), ", ") {
			if name = strings.Trim(name, "`"); name != worker.StorageAccess && !template.Declares(name) {
				t.Errorf("guides/%s.md tells about %q, which is no job variable of the type", kind, name)
			}
		}
	}
}

func variablesTable(kind string, template *launch.Template) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "\n## Job variables\n\nThose of the default base job template, `flowship work-pool get-default-base-job-template --type %s`. A work pool may have a template of its\nown;"+
		" `flowship work-pool inspect NAME` shows its variables. `-v NAME=VALUE` sets one for a run.\n\n| name | type | default | what it means |\n|---|---|---|---|\n", kind)
	for _, v := range template.Variables() {
		value := ""
		if v.Default != nil {
			value = "`" + string(v.Default) + "`"
		}
		meaning := v.Description
		if meaning == "" {
			meaning = v.Title
		}
		if v.Required {
			meaning = strings.TrimSpace("Required. " + meaning)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", v.Name, inTable(v.Type), inTable(value), inTable(meaning))
	}
	return b.String()
}

func inTable(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|")
}
