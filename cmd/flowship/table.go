package main

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// table is aligned text. A column whose head starts with ">" is aligned to the right.
type table struct {
	head []string
	rows [][]cell
}

type cell struct {
	text  string
	style style
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// text is a cell without style.
func text(s string) cell { return cell{text: s} }

const columnGap = "  "

func (t *table) write(w *bufio.Writer, styled bool) {
	right := make([]bool, len(t.head))
	widths := make([]int, len(t.head))
	head := make([]cell, len(t.head))
	for i, h := range t.head {
		h, right[i] = strings.CutPrefix(h, ">")
		head[i] = cell{text: h, style: bold}
		widths[i] = runewidth.StringWidth(h)
	}
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], runewidth.StringWidth(c.text))
		}
	}
	line := func(row []cell) {
		for len(row) > 0 && row[len(row)-1].text == "" {
			row = row[:len(row)-1] // no blanks at the end
		}
		for i, c := range row {
			if i > 0 {
				w.WriteString(columnGap)
			}
			pad := strings.Repeat(" ", widths[i]-runewidth.StringWidth(c.text))
			if right[i] {
				w.WriteString(pad)
			}
			w.WriteString(paint(styled, c.style, c.text))
			if !right[i] && i < len(row)-1 {
				w.WriteString(pad)
			}
		}
		w.WriteByte('\n')
	}
	line(head)
	for _, row := range t.rows {
		line(row)
	}
}

// shown is a file name as a terminal may get it: quoted where it holds what could break a line
// or change the terminal's state.
func shown(name string) string {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

// humanSize writes a number of bytes in units of 1024.
func humanSize(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	size, unit := float64(n)/1024, 0
	const units = "KMGTPE"
	for size >= 1023.95 && unit < len(units)-1 {
		size /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", size, units[unit])
}

// count writes a number with its noun, which takes an s.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return grouped(n) + " " + noun
}

// grouped writes a number that is not negative with its thousands apart.
func grouped(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
