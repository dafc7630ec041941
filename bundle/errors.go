package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// Kind says what sort of thing went wrong, for callers that branch on it. The words are the
// ones that the CLI prints as an error's kind.
type Kind string

// The kinds of this package's errors.
const (
	KindEmpty          Kind = "empty"           // a pattern without text
	KindWhitespace     Kind = "whitespace"      // a pattern of blanks
	KindNullByte       Kind = "null_byte"       // a pattern with U+0000
	KindAbsolute       Kind = "absolute"        // an absolute pattern
	KindTraversal      Kind = "traversal"       // leads out of the base directory
	KindSymlinkLoop    Kind = "symlink_loop"    // links that go round, or more than 10 in a chain
	KindInvalidPattern Kind = "invalid_pattern" // a pattern or ignore rule that does not compile
	KindUnreadable     Kind = "unreadable"      // the file system says no
	KindNotFound       Kind = "not_found"
	KindTampered       Kind = "tampered"    // a bundle that does not hold what it promises
	KindChanged        Kind = "changed"     // a file changed while it was packed
	KindRefused        Kind = "refused"     // what cannot be packed or extracted safely
	KindConflict       Kind = "conflict"    // something else stands where a file shall go
	KindUnavailable    Kind = "unavailable" // what shall be written to says no: disk full, read-only
)

// Error is an error about one path, pattern or bundle.
type Error struct {
	Kind   Kind
	Path   string // the pattern, file, entry or bundle it is about, as the caller or the bundle spells it
	Reason string // what is wrong with it
	Err    error  // the cause, if there is one
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q: ", e.Path)
	b.WriteString(e.Reason)
	if e.Err != nil {
		if e.Reason != "" {
			b.WriteString(": ")
		}
		b.WriteString(cause(e.Err).Error())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// cause drops what the os package repeats of the path that an Error has named already.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}

// KindOf returns the kind of the first [Error] that err wraps, or "".
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// fileError wraps what the file system said about path.
func fileError(path string, err error) error {
	kind := KindUnreadable
	if errors.Is(err, fs.ErrNotExist) {
		kind = KindNotFound
	}
	return &Error{Kind: kind, Path: path, Err: err}
}

// writeError wraps what the file system said when path was to be written. Errors about
// something else stay as they are.
func writeError(path string, err error) error {
	var e *Error
	if errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	kind := KindUnavailable
	switch {
	case errors.Is(err, fs.ErrNotExist):
		kind = KindNotFound
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENOTEMPTY):
		kind = KindConflict
	}
	return &Error{Kind: kind, Path: path, Reason: "cannot be written", Err: err}
}
