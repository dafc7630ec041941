package main

import (
	"cmp"

	"github.com/flowship/flowship/bundle"
)

// mostSensitive is how many sensitive files are named one by one.
const mostSensitive = 5

// warnCollected prints what a person should know about the files that were chosen.
func (c *console) warnCollected(files *bundle.Collection) {
	for _, w := range files.Warnings {
		c.warn("%s", shown(w))
	}
	for _, x := range files.Excluded {
		if x.Explicit {
			c.warn("%s is named by a pattern, but left out by %s (%s)", shown(x.Path), shown(x.Rule), cmp.Or(x.Source, alwaysSource))
		}
	}
	for i, s := range files.Sensitive {
		if i == mostSensitive {
			c.warn("%s more may hold secrets", count(len(files.Sensitive)-i, "file"))
			break
		}
		c.warn("%s may hold secrets (its name matches %s)", shown(s.Path), s.Rule)
	}
	for _, n := range files.Notes {
		c.warn("%s", shown(n))
	}
}
