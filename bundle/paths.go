package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"
)

// This file follows paths as Python's pathlib does, because what a pattern such as
// "link/../x" selects depends on it: joining drops "." and doubled slashes but keeps "..",
// and resolving applies ".." to where a link has led.

// joinPath is pathlib's a / b.
func joinPath(base, rel string) string {
	if strings.HasPrefix(rel, "/") {
		base = ""
	}
	var b strings.Builder
	b.WriteString(strings.TrimSuffix(base, "/"))
	for part := range strings.SplitSeq(rel, "/") {
		if part != "" && part != "." {
			b.WriteByte('/')
			b.WriteString(part)
		}
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// parentPath is pathlib's parent: the last component dropped, ".." or not.
func parentPath(path string) string {
	i := strings.LastIndexByte(path, '/')
	if i <= 0 {
		return "/"
	}
	return path[:i]
}

// within reports whether path is base or below it, and where.
func within(base, path string) (rel string, ok bool) {
	if path == base {
		return ".", true
	}
	rel, ok = strings.CutPrefix(path, strings.TrimSuffix(base, "/")+"/")
	return rel, ok
}

// maxLinks is the longest chain of links that Prefect follows.
const maxLinks = 10

// resolve follows path physically. With strict, a missing component is an error; without, it
// and what follows stay as they are. A loop is an error of kind symlink_loop in both.
func resolve(path string, strict bool) (string, error) {
	seen := make(map[string]string)
	return resolveFrom("/", path, strict, seen)
}

// resolveNamed resolves a path as a person names it, from the working directory. It does not
// clean it first: what ".." means depends on where the link before it leads.
func resolveNamed(path string, strict bool) (string, error) {
	if !filepath.IsAbs(path) {
		wd, err := os.Getwd()
		if err != nil {
			return "", err
		}
		path = wd + "/" + path
	}
	return resolve(filepath.ToSlash(path), strict)
}

// Below returns where file lies below the directory base, with slashes. Both are followed to
// where they are, but for the last component of file, which is a name and may be missing. A
// file that lies elsewhere is an [Error] of kind traversal.
func Below(base, file string) (string, error) {
	resolvedBase, err := resolveNamed(base, false)
	if err != nil {
		return "", asError(base, err)
	}
	dir, name := filepath.Split(file)
	resolvedDir, err := resolveNamed(dir, false)
	if err != nil {
		return "", asError(file, err)
	}
	rel, ok := within(resolvedBase, joinPath(resolvedDir, name))
	if !ok {
		return "", &Error{Kind: KindTraversal, Path: file, Reason: "lies outside of the base directory " + base}
	}
	return rel, nil
}

func resolveFrom(at, rest string, strict bool, seen map[string]string) (string, error) {
	if strings.HasPrefix(rest, "/") {
		at = "/"
	}
	for part := range strings.SplitSeq(rest, "/") {
		switch part {
		case "", ".":
			continue
		case "..":
			at = parentPath(at)
			continue
		}
		next := joinPath(at, part)
		_, kind, err := lstat(next)
		if err != nil {
			if strict || !isMissing(err) {
				return "", err
			}
			at = next
			continue
		}
		if kind&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if to, ok := seen[next]; ok {
			if to == "" {
				return "", &Error{Kind: KindSymlinkLoop, Path: next, Reason: "the link leads back to itself"}
			}
			at = to
			continue
		}
		seen[next] = ""
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		at, err = resolveFrom(at, filepath.ToSlash(target), strict, seen)
		if err != nil {
			return "", err
		}
		seen[next] = at
	}
	return at, nil
}

// isLink is pathlib's is_symlink: what is missing is no link.
func isLink(path string) (bool, error) {
	_, kind, err := lstat(path)
	if err != nil {
		if isMissing(err) {
			return false, nil
		}
		return false, err
	}
	return kind&fs.ModeSymlink != 0, nil
}

// statDir is pathlib's is_dir.
func statDir(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		if isMissing(err) {
			return false, nil
		}
		return false, err
	}
	return info.IsDir(), nil
}

// locate returns the file that path leads to, which must lie in base; found is false when there
// is none. asked is how errors call it.
func locate(base, path, asked string) (resolved string, found bool, err error) {
	linked, err := isLink(path)
	if err != nil {
		return "", false, fileError(asked, err)
	}
	for p := path; !linked && p != "/"; {
		p = parentPath(p)
		if p == base {
			break
		}
		if linked, err = isLink(p); err != nil {
			return "", false, fileError(asked, err)
		}
	}
	if linked {
		return locateLinked(base, path, asked)
	}
	resolved, err = resolve(path, false)
	if err != nil {
		return "", false, asError(asked, err)
	}
	if _, ok := within(base, resolved); !ok {
		return "", false, &Error{Kind: KindTraversal, Path: asked, Reason: "leads out of the base directory " + base}
	}
	if _, err := os.Stat(resolved); err != nil {
		if isMissing(err) {
			return "", false, nil
		}
		return "", false, fileError(asked, err)
	}
	return resolved, true, nil
}

// locateLinked does the same for a path with a link in it.
func locateLinked(base, path, asked string) (string, bool, error) {
	current := path
	seen := make(map[string]bool)
	for {
		linked, err := isLink(current)
		if err != nil {
			return "", false, fileError(asked, err)
		}
		if !linked {
			break
		}
		if seen[current] {
			return "", false, &Error{Kind: KindSymlinkLoop, Path: asked, Reason: "the link leads back to itself"}
		}
		if len(seen) == maxLinks {
			return "", false, &Error{Kind: KindSymlinkLoop, Path: asked, Reason: fmt.Sprintf("more than %d links follow one another", maxLinks)}
		}
		seen[current] = true
		target, err := os.Readlink(current)
		if err != nil {
			return "", false, nil // gone since: as a broken link
		}
		current = joinPath(parentPath(current), filepath.ToSlash(target))
	}
	resolved, err := resolve(current, true)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, asError(asked, err)
	}
	if _, ok := within(base, resolved); !ok {
		return "", false, &Error{Kind: KindTraversal, Path: asked, Reason: "the link leads out of the base directory " + base}
	}
	return resolved, true, nil
}

// asError keeps an Error's kind and names what was asked for.
func asError(asked string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return &Error{Kind: e.Kind, Path: asked, Reason: e.Reason, Err: e.Err}
	}
	if isLoop(err) {
		return &Error{Kind: KindSymlinkLoop, Path: asked, Err: err}
	}
	return fileError(asked, err)
}

// checkText refuses patterns that can name nothing in the base directory.
func checkText(pattern string) error {
	switch {
	case pattern == "":
		return &Error{Kind: KindEmpty, Path: pattern, Reason: "the pattern is empty"}
	case strings.TrimFunc(pattern, isPythonSpace) == "":
		return &Error{Kind: KindWhitespace, Path: pattern, Reason: "the pattern is blank"}
	case strings.ContainsRune(pattern, 0):
		return &Error{Kind: KindNullByte, Path: pattern, Reason: "the pattern holds a null byte"}
	case pattern[0] == '/' || hasDrive(pattern):
		return &Error{Kind: KindAbsolute, Path: pattern, Reason: "absolute paths cannot be packed"}
	}
	return nil
}

// hasDrive reports whether s starts like a Windows drive, on every system.
func hasDrive(s string) bool {
	for i, r := range s {
		if i == 0 {
			if !unicode.IsLetter(r) {
				return false
			}
			continue
		}
		return r == ':'
	}
	return false
}

// isPythonSpace is Python's str.isspace, which knows four separators more than Go does.
func isPythonSpace(r rune) bool {
	return unicode.IsSpace(r) || (r >= 0x1c && r <= 0x1f)
}
