package main

import "strings"

// shellLine writes an argument vector for people, as a POSIX shell would read it unless there
// are characters in it that do not print.
func shellLine(argv []string) string {
	words := make([]string, len(argv))
	for i, arg := range argv {
		words[i] = shellWord(arg)
	}
	return strings.Join(words, " ")
}

func shellWord(arg string) string {
	if quoted := shown(arg); quoted != arg {
		return quoted
	}
	if arg != "" && strings.Trim(arg, shellPlain) == "" {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'"'"'`) + "'"
}

// shellPlain are the characters that need no quotes, as Python's shlex judges.
const shellPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./-_"
