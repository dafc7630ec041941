package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// console is where a command reads and prints, and how. The results of a command go to out,
// everything else to err.
type console struct {
	in       io.Reader
	out, err io.Writer

	json      bool
	quiet     bool
	profile   string // of Prefect's, that --profile names
	onPrefect bool   // a Prefect server serves, which openClient found out

	outStyled   bool // colour on stdout
	errStyled   bool // colour on stderr
	errTerminal bool // stderr is a terminal: a bar may be drawn

	lease time.Duration // of leases on flow runs; 0: the usual length
}

func newConsole(in, out, err *os.File) *console {
	// https://no-color.org: any value that is not empty counts.
	colour := os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	errTerminal := term.IsTerminal(int(err.Fd()))
	return &console{
		in: in, out: out, err: err,
		outStyled:   colour && term.IsTerminal(int(out.Fd())),
		errStyled:   colour && errTerminal,
		errTerminal: errTerminal,
	}
}

// style is the number of an ANSI "select graphic rendition" sequence.
type style int

const (
	plain  style = 0
	bold   style = 1
	dim    style = 2
	red    style = 31
	green  style = 32
	yellow style = 33
)

func paint(styled bool, s style, text string) string {
	if !styled || s == plain {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", s, text)
}

// warn prints a line that is not the result, unless the user asked for quiet.
func (c *console) warn(format string, args ...any) {
	if c.quiet {
		return
	}
	fmt.Fprintln(c.err, paint(c.errStyled, yellow, "warning:"), fmt.Sprintf(format, args...))
}

// print writes the command's result through write, which reports nothing itself: a bufio.Writer
// remembers its first error.
func (c *console) print(write func(w *bufio.Writer)) error {
	w := bufio.NewWriterSize(c.out, 1<<16)
	write(w)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}
