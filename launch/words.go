package launch

import (
	"errors"
	"strings"
)

// Join makes one line of a command that [Split], and every POSIX shell, takes apart again:
// words with other characters than ASCII letters, digits and @%+=:,./-_ are quoted.
func Join(command []string) string {
	words := make([]string, len(command))
	for i, word := range command {
		if word == "" || strings.ContainsFunc(word, needsQuotes) {
			word = "'" + strings.ReplaceAll(word, "'", `'"'"'`) + "'"
		}
		words[i] = word
	}
	return strings.Join(words, " ")
}

func needsQuotes(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("@%+=:,./-_", r))
}

// Split takes a command line apart as a POSIX shell does, but expands nothing: white space
// separates words; a backslash takes the character that follows as it is, also, within double
// quotation marks, another backslash or mark.
func Split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	started := false // also an empty one, in quotation marks
	var quote byte
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '\\' && quote != '\'':
			if i++; i == len(line) {
				return nil, errors.New("nothing follows a backslash")
			}
			if quote == '"' && line[i] != '"' && line[i] != '\\' {
				word.WriteByte('\\')
			}
			word.WriteByte(line[i])
			started = true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, started = c, true
		case strings.IndexByte(" \t\r\n", c) >= 0:
			if started {
				words = append(words, word.String())
				word.Reset()
				started = false
			}
		default:
			word.WriteByte(c)
			started = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quotation mark has no second one")
	}
	if started {
		words = append(words, word.String())
	}
	return words, nil
}
