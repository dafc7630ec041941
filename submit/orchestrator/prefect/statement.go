package prefect

import (
	"strings"

	"github.com/BurntSushi/toml"
)

// statement is where a line of a TOML text, or several that belong together, says something.
type statement struct {
	path            []string // of the table or the value, from the top
	header          bool     // it begins a table
	inTable         bool     // it stands below a header
	value, valueEnd int      // where the value is
	next            int      // where the next line begins
}

// statements finds what a valid text says. Elements of arrays of tables, and what is below them,
// are left out.
func statements(text string) []statement {
	var found []statement
	var table []string
	inArray, inTable := false, false
	for at := 0; at < len(text); {
		start := at + blank(text[at:])
		end := statementEnd(text, start)
		next := len(text)
		if i := strings.IndexByte(text[end:], '\n'); i >= 0 {
			next = end + i + 1
		}
		switch said := strings.TrimRight(text[start:end], " \t\r"); {
		case said == "":
		case strings.HasPrefix(said, "[["):
			inArray = true
		case said[0] == '[':
			inArray, inTable = false, true
			table = keyPath(said[1:], ']')
			found = append(found, statement{path: table, header: true, next: next})
		case !inArray:
			equals := keyEnd(said, '=')
			value := equals + 1
			value += blank(said[min(value, len(said)):])
			found = append(found, statement{
				path: append(append([]string{}, table...), keyPath(said, '=')...), inTable: inTable,
				value: start + min(value, len(said)), valueEnd: start + len(said), next: next,
			})
		}
		at = next
	}
	return found
}

// blank is the length of the white space that a line begins with, or of a byte order mark.
func blank(s string) int {
	return len(s) - len(strings.TrimLeft(strings.TrimPrefix(s, "\ufeff"), " \t"))
}

// statementEnd is the end of the line, without its comment, or of a later one if strings and
// brackets go on until there.
func statementEnd(text string, at int) int {
	depth := 0
	for at < len(text) {
		switch text[at] {
		case '"', '\'':
			at += stringLength(text[at:])
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '#':
			if depth <= 0 {
				return at
			}
			if i := strings.IndexByte(text[at:], '\n'); i >= 0 {
				at += i
			} else {
				return len(text)
			}
		case '\n':
			if depth <= 0 {
				return at
			}
		}
		at++
	}
	return at
}

// stringLength is the length of the string that the text begins with, quotes included.
func stringLength(s string) int {
	quote := s[:1]
	if strings.HasPrefix(s, strings.Repeat(quote, 3)) {
		quote = s[:3]
	}
	for i := len(quote); i < len(s); i++ {
		switch {
		case s[i] == '\\' && quote[0] == '"':
			i++
		case strings.HasPrefix(s[i:], quote):
			i += len(quote)
			// Two more quotes may belong to a long string, before those that end it.
			for n := 0; n < 2 && len(quote) == 3 && strings.HasPrefix(s[i:], quote[:1]); n++ {
				i++
			}
			return i
		}
	}
	return len(s)
}

// keyEnd is where the character is outside of strings.
func keyEnd(s string, until byte) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"', '\'':
			i += stringLength(s[i:]) - 1
		case until:
			return i
		}
	}
	return len(s)
}

// keyPath reads a dotted key up to the character.
func keyPath(s string, until byte) []string {
	key := s[:keyEnd(s, until)]
	// The library tells what its parts are.
	var table map[string]any
	meta, err := toml.Decode(key+" = 0", &table)
	if err != nil || len(meta.Keys()) == 0 {
		return nil
	}
	keys := meta.Keys()
	return keys[len(keys)-1]
}
