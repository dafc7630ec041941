package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowship/flowship/bundle"
)

func newExplainCommand(c *console) *cobra.Command {
	opts := &selection{}
	cmd := &cobra.Command{
		Use:         "explain PATH... [ENTRYPOINT] --include PATTERN...",
		Short:       "Say why a file is packed, or why not",
		Annotations: map[string]string{packing: ""},
		Long: `Explain names for each PATH the rule that decides about it, and where that rule
stands. Paths are relative to the base directory, as patterns are. It also says
where git would decide otherwise: Prefect reads .prefectignore almost, but not
quite, as git reads .gitignore.

JSON: [{"path", "included", "reason", "rule", "source", "git"}]; a reason is
include, default exclusion, hidden, ignored, negated, not matched or always
excluded; git is there only where it would decide otherwise.`,
		Example: `  flowship bundle explain data/a.csv notes.log --include data/ --include '*.log'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			paths, t, err := explainTarget(cmd, opts, args)
			if err != nil {
				return err
			}
			return runExplain(cmd.Context(), c, opts, t, paths)
		},
	}
	cmd.Flags().SortFlags = false
	opts.register(cmd.Flags())
	return cmd
}

// looksLikeEntrypoint tells an ENTRYPOINT from a path among the arguments.
func looksLikeEntrypoint(arg string) bool {
	if file, name, ok := strings.Cut(arg, ".py:"); ok && file != "" && flowName.MatchString(name) {
		return true
	}
	at := strings.LastIndexByte(arg, ':')
	if at <= 0 || at == len(arg)-1 {
		return false
	}
	info, err := os.Stat(arg[:at])
	return err == nil && (info.IsDir() || strings.HasSuffix(arg[:at], ".go"))
}

// explainTarget takes the paths and the ENTRYPOINT apart, which may stand anywhere.
func explainTarget(cmd *cobra.Command, opts *selection, args []string) (paths []string, t *target, err error) {
	before, _, err := splitArgs(cmd, args)
	if err != nil {
		return nil, nil, err
	}
	for _, arg := range before {
		if !looksLikeEntrypoint(arg) {
			paths = append(paths, arg)
			continue
		}
		if t != nil {
			return nil, nil, usagef("", "a second ENTRYPOINT: %q", arg)
		}
		if t, err = opts.entrypoint(arg); err != nil {
			return nil, nil, err
		}
	}
	if len(paths) == 0 {
		return nil, nil, usagef("", "missing argument PATH")
	}
	if t == nil {
		t, err = opts.files()
	}
	return paths, t, err
}

type explanationJSON struct {
	Path     string `json:"path"`
	Included bool   `json:"included"`
	Reason   string `json:"reason"`
	Rule     string `json:"rule"`
	Source   string `json:"source"`
	Git      string `json:"git,omitempty"`
}

func runExplain(ctx context.Context, c *console, opts *selection, t *target, paths []string) error {
	explained, err := bundle.Explain(ctx, t.base, opts.include, paths, t.collect)
	if err != nil {
		return err
	}
	if c.json {
		return c.writeJSON(func(j *jsonWriter) {
			j.list(func() {
				for _, e := range explained {
					j.element(explanationJSON(e))
				}
			})
		})
	}
	return c.print(func(w *bufio.Writer) {
		table := &table{head: []string{"PATH", "PACKED", "BECAUSE"}}
		for _, e := range explained {
			verdict := cell{"no", red}
			if e.Included {
				verdict = cell{"yes", green}
			}
			table.add(text(shown(e.Path)), verdict, text(because(e)))
		}
		table.write(w, c.outStyled)
	})
}

// because says an explanation in words.
func because(e bundle.Explanation) string {
	s := e.Reason
	if e.Rule != "" {
		s = fmt.Sprintf("%s: %s", s, shown(e.Rule))
	}
	if e.Source != "" {
		s = fmt.Sprintf("%s (%s)", s, shown(e.Source))
	}
	switch e.Git {
	case "ignored":
		s += "; git would ignore it"
	case "kept":
		s += "; git would keep it"
	}
	return s
}
