package main

import (
	"bufio"
	"fmt"
	"strings"
	"time"
)

// rows are names with a value each, for what is shown alone.
type rows struct {
	w      *bufio.Writer
	styled bool
	width  int // of the longest name
}

// add writes a row, unless there is no value.
func (r *rows) add(name string, value cell) {
	if value.text != "" {
		fmt.Fprintf(r.w, "%s %s\n", paint(r.styled, bold, fmt.Sprintf("%-*s", r.width, name)), paint(r.styled, value.style, value.text))
	}
}

// moment is a point in time and how long ago it was; the zero time is none.
func moment(t, now time.Time) cell {
	if t.IsZero() {
		return text("")
	}
	return text(t.Local().Format(time.RFC3339) + ", " + strings.ToLower(humanAge(now.Sub(t))))
}
