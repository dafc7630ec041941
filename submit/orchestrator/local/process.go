package local

import "strings"

// life is what is known about a process.
type life int

const (
	lifeUnknown life = iota // it may be on another machine, or out of sight
	lifeGoesOn
	lifeEnded
)

// pidOf returns the number in a process's name.
func pidOf(process string) string {
	if fields := strings.Fields(process); len(fields) == 4 {
		return fields[2]
	}
	return "?"
}
