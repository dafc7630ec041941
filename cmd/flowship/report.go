package main

import (
	"bufio"
	"cmp"
	"fmt"

	"github.com/flowship/flowship/bundle"
)

// report is what build, build --dry-run and inspect say about a bundle.
type report struct {
	document    string // path of the document; "" when none was written
	digest      bundle.Digest
	runtime     bundle.Runtime
	entrypoint  string
	command     []string
	manifest    *bundle.Manifest
	archiveSize *int64 // nil when nothing was packed
	sensitive   []bundle.Sensitive
	collection  *bundle.Collection // nil when the bundle was only read: why and excluded are unknown
}

// why says what selected file i of the manifest.
func (r *report) why(i int) string {
	if r.collection == nil {
		return ""
	}
	return r.collection.Files[i].Why
}

type fileJSON struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Mode   string `json:"mode"`
	SHA256 any    `json:"sha256"`
	Why    string `json:"why"`
}

// digestOrNull is what a file hashes to, where that is known.
func digestOrNull(d bundle.Digest) any {
	if d.IsZero() {
		return nil
	}
	return d.Hex()
}

type excludedJSON struct {
	Path   string `json:"path"`
	Rule   string `json:"rule"`
	Source string `json:"source"`
}

type sensitiveJSON struct {
	Path string `json:"path"`
	Rule string `json:"rule"`
}

func (r *report) writeJSON(j *jsonWriter) {
	excluded, warnings, notes := []bundle.Excluded(nil), []string(nil), []string(nil)
	if r.collection != nil {
		excluded, warnings, notes = r.collection.Excluded, r.collection.Warnings, r.collection.Notes
	}
	j.object(func() {
		j.member("bundle", orNull(r.document))
		j.member("digest", orNull(r.digest.String()))
		j.member("files_key", orNull(r.manifest.FilesKey()))
		j.member("runtime", cmp.Or(r.runtime, bundle.RuntimeExec)) // files alone are packed as for a command
		j.member("entrypoint", r.entrypoint)
		j.member("command", notNull(r.command))
		j.key("files")
		j.list(func() {
			for i := range r.manifest.Entries {
				e := &r.manifest.Entries[i]
				j.element(fileJSON{Path: e.Path, Size: e.Size, Mode: e.Mode.String(), SHA256: digestOrNull(e.SHA256), Why: r.why(i)})
			}
		})
		j.member("file_count", len(r.manifest.Entries))
		j.member("total_size", r.manifest.TotalSize())
		j.member("archive_size", r.archiveSize)
		j.key("excluded")
		j.list(func() {
			for _, x := range excluded {
				j.element(excludedJSON{Path: x.Path, Rule: x.Rule, Source: x.Source})
			}
		})
		j.member("excluded_count", len(excluded))
		j.key("sensitive")
		j.list(func() {
			for _, s := range r.sensitive {
				j.element(sensitiveJSON{Path: s.Path, Rule: s.Rule})
			}
		})
		j.member("warnings", notNull(warnings))
		j.member("notes", notNull(notes))
	})
}

// writeText prints the report for a person; files says whether to list each one.
func (r *report) writeText(w *bufio.Writer, styled, files bool) {
	if files && len(r.manifest.Entries) > 0 {
		r.writeFiles(w, styled)
		w.WriteByte('\n')
	}
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s %s\n", paint(styled, bold, fmt.Sprintf("%-8s", name)), value)
		}
	}
	row("bundle", shown(r.document))
	row("digest", r.digest.String())
	row("sidecar", r.manifest.FilesKey())
	row("calls", r.calls())
	row("holds", r.holds())
}

// calls is what the bundle runs, on one line.
func (r *report) calls() string {
	switch {
	case r.entrypoint != "":
		return fmt.Sprintf("%s (%s)", shown(r.entrypoint), r.runtime)
	case len(r.command) > 0:
		return shellLine(r.command)
	}
	return ""
}

func (r *report) holds() string {
	s := fmt.Sprintf("%s, %s", count(len(r.manifest.Entries), "file"), humanSize(r.manifest.TotalSize()))
	if r.archiveSize != nil && len(r.manifest.Entries) > 0 {
		s += fmt.Sprintf(" (%s packed)", humanSize(*r.archiveSize))
	}
	if r.collection != nil && len(r.collection.Excluded) > 0 {
		s += fmt.Sprintf("; %s left out by ignore files", grouped(len(r.collection.Excluded)))
	}
	return s
}

func (r *report) writeFiles(w *bufio.Writer, styled bool) {
	t := &table{head: []string{"FILE", ">SIZE", "MODE"}}
	if r.collection != nil {
		t.head = append(t.head, "WHY")
	}
	for i := range r.manifest.Entries {
		e := &r.manifest.Entries[i]
		row := []cell{text(shown(e.Path)), text(humanSize(e.Size)), text(e.Mode.String())}
		if r.collection != nil {
			row = append(row, cell{shown(r.why(i)), dim})
		}
		t.add(row...)
	}
	t.write(w, styled)
	if r.collection == nil || len(r.collection.Excluded) == 0 {
		return
	}
	w.WriteByte('\n')
	t = &table{head: []string{"LEFT OUT", "RULE", "FROM"}}
	for _, x := range r.collection.Excluded {
		t.add(text(shown(x.Path)), text(shown(x.Rule)), cell{shown(cmp.Or(x.Source, alwaysSource)), dim})
	}
	t.write(w, styled)
}

// alwaysSource is the source of a rule that no file holds.
const alwaysSource = "always"
