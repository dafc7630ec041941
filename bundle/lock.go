package bundle

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Lock is the content of a lock file: what a bundle must hold, small and line by line, made to
// be committed and to read well in a diff. FORMAT.md specifies the text.
type Lock struct {
	Document Digest // zero when no document was made
	Manifest *Manifest
}

const lockHeader = "# flowship lock 1"

// NewLock records a manifest and, unless it is zero, the digest of the document.
func NewLock(document Digest, m *Manifest) *Lock {
	return &Lock{Document: document, Manifest: m}
}

// Write writes the lock file's text.
func (l *Lock) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, lockHeader)
	if !l.Document.IsZero() {
		fmt.Fprintln(b, "document", l.Document)
	}
	fmt.Fprintln(b, "files", l.Manifest.Digest)
	for _, e := range byPath(l.Manifest) {
		fmt.Fprintln(b, e.Mode, e.Size, e.SHA256.Hex(), quoteName(e.Path))
	}
	return b.Flush()
}

// WriteFile writes the lock file path, which is replaced whole or not at all.
func (l *Lock) WriteFile(path string) error {
	if err := writeAtomic(path, 0o666, true, func(f *os.File) error { return l.Write(f) }); err != nil {
		return writeError(path, err)
	}
	return nil
}

// quoteName quotes names that a line cannot hold as they are, as Go does.
func quoteName(name string) string {
	if quoted := strconv.Quote(name); quoted[1:len(quoted)-1] != name || strings.TrimSpace(name) != name {
		return strconv.QuoteToGraphic(name)
	}
	return name
}

// OpenLock reads the lock file path.
func OpenLock(path string) (*Lock, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := ReadLock(f)
	return l, renamed(err, path)
}

// ReadLock parses a lock file's text.
func ReadLock(r io.Reader) (*Lock, error) {
	l := &Lock{Manifest: &Manifest{}}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	files := false
	for line := 1; s.Scan(); line++ {
		if err := l.read(line, s.Text(), &files); err != nil {
			return nil, &Error{Kind: KindTampered, Path: "lock file", Reason: fmt.Sprintf("line %d", line), Err: err}
		}
	}
	if err := s.Err(); err != nil {
		return nil, &Error{Kind: KindUnreadable, Path: "lock file", Err: err}
	}
	if !files {
		return nil, &Error{Kind: KindTampered, Path: "lock file", Reason: "no line \"files sha256:…\""}
	}
	return l, nil
}

func (l *Lock) read(line int, text string, files *bool) (err error) {
	if line == 1 {
		if text != lockHeader {
			return fmt.Errorf("not %q", lockHeader)
		}
		return nil
	}
	if strings.HasPrefix(text, "#") || text == "" {
		return nil
	}
	word, rest, _ := strings.Cut(text, " ")
	switch {
	case word == "document" && !*files:
		l.Document, err = ParseDigest(rest)
		return err
	case word == "files" && !*files:
		*files = true
		l.Manifest.Digest, err = ParseDigest(rest)
		return err
	case !*files:
		return fmt.Errorf("%q comes before the line \"files sha256:…\"", word)
	}
	var e Entry
	if e.Mode, err = ParseMode(word); err != nil {
		return err
	}
	size, rest, _ := strings.Cut(rest, " ")
	if e.Size, err = strconv.ParseInt(size, 10, 64); err != nil || e.Size < 0 {
		return fmt.Errorf("size %q is not a number of bytes", size)
	}
	sum, name, _ := strings.Cut(rest, " ")
	if e.SHA256, err = ParseDigest(sum); err != nil {
		return err
	}
	if e.Path = name; strings.HasPrefix(name, `"`) {
		if e.Path, err = strconv.Unquote(name); err != nil {
			return fmt.Errorf("name %s is not quoted as it should be", name)
		}
	}
	if err := checkName(e.Path); err != nil {
		return err
	}
	if n := len(l.Manifest.Entries); n > 0 && l.Manifest.Entries[n-1].Path >= e.Path {
		return fmt.Errorf("%q is not in its place: the lines are sorted by path, each once", e.Path)
	}
	l.Manifest.Entries = append(l.Manifest.Entries, e)
	return nil
}
