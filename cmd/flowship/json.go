package main

import (
	"bufio"
	"bytes"
	"encoding/json"
)

// jsonWriter writes one JSON document member by member: a list of a hundred thousand files is
// never held as text. Objects of the top level and lists have one member a line, what is inside
// them is on one line.
type jsonWriter struct {
	w     *bufio.Writer
	depth int
	more  bool // a comma comes first
	err   error
}

// writeJSON prints the document that write makes.
func (c *console) writeJSON(write func(j *jsonWriter)) error {
	j := &jsonWriter{}
	err := c.print(func(w *bufio.Writer) {
		j.w = w
		write(j)
		w.WriteByte('\n')
	})
	if j.err != nil {
		return j.err
	}
	return err
}

func (j *jsonWriter) object(members func()) { j.nest('{', '}', members) }

// list writes what elements hands to [jsonWriter.element].
func (j *jsonWriter) list(elements func()) { j.nest('[', ']', elements) }

func (j *jsonWriter) nest(open, end byte, inside func()) {
	j.w.WriteByte(open)
	j.depth++
	j.more = false
	inside()
	j.depth--
	if j.more {
		j.line()
	}
	j.w.WriteByte(end)
	j.more = true
}

func (j *jsonWriter) line() {
	j.w.WriteByte('\n')
	for range j.depth {
		j.w.WriteString("  ")
	}
}

func (j *jsonWriter) separate() {
	if j.more {
		j.w.WriteByte(',')
	}
	j.line()
	j.more = true
}

// key starts a member; its value follows.
func (j *jsonWriter) key(name string) {
	j.separate()
	j.value(name)
	j.w.WriteString(": ")
}

func (j *jsonWriter) member(name string, v any) {
	j.key(name)
	j.value(v)
}

func (j *jsonWriter) element(v any) {
	j.separate()
	j.value(v)
}

func (j *jsonWriter) value(v any) {
	line, err := jsonLine(v)
	if err != nil {
		j.err = err
		return
	}
	j.w.Write(line)
}

// printJSON prints a value whose type says how.
func (c *console) printJSON(v any) error {
	return c.writeJSON(func(j *jsonWriter) {
		text, err := jsonLine(v)
		if err != nil {
			j.err = err
			return
		}
		var pretty bytes.Buffer
		json.Indent(&pretty, text, "", "  ") // it is valid
		j.w.Write(pretty.Bytes())
	})
}

// jsonLine is json.Marshal without its escapes for HTML, so that names read as they are.
func jsonLine(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// orNull is for members that are null when there is nothing.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// notNull is for lists, which are never null.
func notNull[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
