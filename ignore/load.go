package ignore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

const fileName = ".prefectignore"

// Ignores are the .prefectignore files that apply to one base directory. It is immutable and safe for concurrent use.
type Ignores struct {
	files []ignoreFile // from the project root down
}

type ignoreFile struct {
	source string
	prefix string // path of the base directory below the file's, with a slash at its end, or ""
	rules  *Rules
	git    func() []gitRule
}

// Load reads the .prefectignore of the project root, which is the nearest directory from base upward with an entry pyproject.toml, and that
// of base itself; files between the two do not count. Each file's rules are relative to its own directory. Rules name their source as seen
// from base: ".prefectignore", "../../.prefectignore".
//
// A missing file is no error. The error is a [*PatternError], wraps [ErrEncoding], or says why a file cannot be read.
func Load(base string) (*Ignores, error) {
	base, err := filepath.Abs(base)
	if err != nil {
		return nil, err
	}
	if base, err = filepath.EvalSymlinks(base); err != nil {
		return nil, err
	}
	ig := &Ignores{}
	root, err := projectRoot(base)
	if err != nil {
		return nil, err
	}
	if root != "" && root != base {
		if err := ig.read(root, base); err != nil {
			return nil, err
		}
	}
	if err := ig.read(base, base); err != nil {
		return nil, err
	}
	return ig, nil
}

// projectRoot is "" if there is none.
func projectRoot(dir string) (string, error) {
	for {
		found, err := exists(filepath.Join(dir, "pyproject.toml"))
		if err != nil || found {
			return dir, err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", nil
		}
		dir = parent
	}
}

// exists follows links, and takes a dangling or looping one for absent as Python does.
func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		return false, nil
	}
	return false, err
}

func (ig *Ignores) read(dir, base string) error {
	name := filepath.Join(dir, fileName)
	if found, err := exists(name); err != nil || !found {
		return err
	}
	below, err := filepath.Rel(dir, base)
	if err != nil {
		return err
	}
	f := ignoreFile{source: fileName}
	if below != "." {
		f.prefix = filepath.ToSlash(below) + "/"
		f.source = strings.Repeat("../", strings.Count(f.prefix, "/")) + fileName
	}
	data, err := readRegular(name)
	if err != nil {
		return err
	}
	return ig.add(f, data)
}

func (ig *Ignores) add(f ignoreFile, data []byte) error {
	rules, err := ParseFile(f.source, data)
	if err != nil {
		return err
	}
	f.rules = rules
	f.git = sync.OnceValue(func() []gitRule { return parseGit(f.source, string(data)) })
	ig.files = append(ig.files, f)
	return nil
}

// readRegular refuses what could block or never end.
func readRegular(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %q: not a regular file", name)
	}
	return os.ReadFile(name)
}

// Match judges a path that is relative to the base directory and separated by "/". The files are asked from the project root down; a later
// one overrides where one of its rules, of either sense, matches.
func (ig *Ignores) Match(rel string) Verdict {
	var v Verdict
	for i := range ig.files {
		f := &ig.files[i]
		path := rel
		if f.prefix != "" {
			path = f.prefix + rel
		}
		if w := f.rules.Match(path); w.Matched {
			v = w
		}
	}
	return v
}

// Files names the files that were read, as the rules name their source.
func (ig *Ignores) Files() []string {
	names := make([]string, len(ig.files))
	for i := range ig.files {
		names[i] = ig.files[i].source
	}
	return names
}
