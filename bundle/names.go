package bundle

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"unicode/utf8"
)

// documentName is the document's name in a bundle directory.
const documentName = "bundle.json"

// checkName refuses entry names that could lead out of the directory they are extracted to, or
// that not every system can hold: absolute, with ".." or empty components, or not UTF-8.
func checkName(name string) error {
	reason := ""
	switch {
	case name == "":
		reason = "entry without a name"
	case !utf8.ValidString(name):
		reason = "the name is not UTF-8"
	case strings.ContainsRune(name, 0):
		reason = "the name holds a null byte"
	case name[0] == '/':
		reason = "absolute path"
	case runtime.GOOS == "windows" && !filepath.IsLocal(filepath.FromSlash(name)):
		reason = "means something else on Windows"
	default:
		for part := range strings.SplitSeq(name, "/") {
			switch part {
			case "..":
				reason = "path traversal"
			case "", ".":
				reason = fmt.Sprintf("the name has a component %q", part)
			}
		}
	}
	if reason == "" {
		return nil
	}
	return &Error{Kind: KindRefused, Path: name, Reason: reason}
}
