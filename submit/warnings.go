package submit

import (
	"context"

	"github.com/flowship/flowship/bundle"
)

// mostSensitive is how many sensitive files are named one by one.
const mostSensitive = 5

// warnOf has the logger say what a person should know about the files that were chosen: who
// calls a flow gets to see neither them nor the [Run].
func warnOf(ctx context.Context, files *bundle.Collection) {
	l := Logger(ctx)
	for _, w := range files.Warnings {
		l.Warn(w)
	}
	for _, x := range files.Excluded {
		if x.Explicit {
			l.Warn("a file that a pattern names is left out", "path", x.Path, "rule", x.Rule, "source", x.Source)
		}
	}
	for i, s := range files.Sensitive {
		if i == mostSensitive {
			l.Warn("more of the files that travel may hold secrets", "files", len(files.Sensitive)-i)
			break
		}
		l.Warn("a file that travels may hold secrets", "path", s.Path, "rule", s.Rule)
	}
	for _, n := range files.Notes {
		l.Warn(n)
	}
}

// warnRun has it say what went wrong beside the run.
func warnRun(ctx context.Context, r *Run) {
	for _, err := range r.Warnings {
		Logger(ctx).Warn(bare(err).Error(), "flow_run", r.ID)
	}
}
