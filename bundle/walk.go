package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/flowship/flowship/ignore"
)

// walker lists directories, each once, however many patterns ask for it.
type walker struct {
	listings map[string]*listing
	notes    []string
}

// listing is what one directory holds that could be packed: hidden names and default
// exclusions are left out, because no pattern finds them by walking.
type listing struct {
	entries []listed
	err     error
}

type listed struct {
	name string
	kind entryKind
}

type entryKind uint8

const (
	entryFile entryKind = iota
	entryDir
	entryLinkToFile
	entryLinkToDir
)

func newWalker() *walker { return &walker{listings: make(map[string]*listing)} }

// files calls add for the regular files below root, links followed; linked says that a link
// was. enter and match get paths below root; nil stands for always. Directories that enter
// refuses are not read.
//
// A link that leads to one of the directories it lies in is left out with a note: Prefect gives
// up there. A root that is not there holds nothing.
func (w *walker) files(ctx context.Context, base, root string, enter, match func(rel string) bool, add func(rel string, linked bool) error) error {
	if l := w.list(root, base); l.err != nil {
		if isMissing(l.err) {
			return nil
		}
		return fileError(showPath(base, root), l.err)
	}
	real, err := resolve(root, true)
	if err != nil {
		return asError(showPath(base, root), err)
	}
	return w.descend(ctx, &visit{base: base, root: root, enter: enter, match: match, add: add}, "", []string{real}, false)
}

type visit struct {
	base, root   string
	enter, match func(rel string) bool
	add          func(rel string, linked bool) error
}

// descend visits the directory at rel below the root. ancestors are the real paths of it and
// of the directories above.
func (w *walker) descend(ctx context.Context, v *visit, rel string, ancestors []string, linked bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	dir := v.root
	if rel != "" {
		dir = joinNative(v.root, rel)
		rel += "/"
	}
	l := w.list(dir, v.base)
	if l.err != nil {
		if errors.Is(l.err, fs.ErrNotExist) {
			return nil // removed since its parent was read
		}
		return fileError(showPath(v.base, dir), l.err)
	}
	for _, e := range l.entries {
		path := rel + e.name
		through := linked || e.kind == entryLinkToFile || e.kind == entryLinkToDir
		if e.kind == entryFile || e.kind == entryLinkToFile {
			if v.match == nil || v.match(path) {
				if err := v.add(path, through); err != nil {
					return err
				}
			}
			continue
		}
		if v.enter != nil && !v.enter(path) {
			continue
		}
		real := joinNative(ancestors[len(ancestors)-1], e.name)
		if e.kind == entryLinkToDir {
			var err error
			if real, err = resolve(joinNative(v.root, path), true); err != nil {
				continue // it was a directory a moment ago: gone, as a broken link
			}
		}
		if through && slices.Contains(ancestors, real) {
			w.note(fmt.Sprintf("%s is left out: the link leads to a directory that it lies in", showPath(v.base, joinNative(v.root, path))))
			continue
		}
		if err := w.descend(ctx, v, path, append(ancestors, real), through); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) note(text string) {
	if !slices.Contains(w.notes, text) {
		w.notes = append(w.notes, text)
	}
}

// list reads a directory, or remembers it.
func (w *walker) list(dir, base string) *listing {
	if l, ok := w.listings[dir]; ok {
		return l
	}
	l := &listing{}
	w.listings[dir] = l
	entries, err := os.ReadDir(dir)
	if err != nil {
		l.err = err
		return l
	}
	l.entries = make([]listed, 0, len(entries))
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		kind, ok, err := w.kindOf(dir, base, e)
		if err != nil {
			l.err = err
			return l
		}
		if !ok {
			continue
		}
		isDir := kind == entryDir || kind == entryLinkToDir
		if isDir {
			if _, out := ignore.DefaultExclusionDir(name); out {
				continue
			}
		} else if _, out := ignore.DefaultExclusion(name); out {
			continue
		}
		l.entries = append(l.entries, listed{name: name, kind: kind})
	}
	return l
}

// kindOf says what an entry is, links followed; ok is false for what is never packed: pipes,
// devices, and links that lead nowhere.
func (w *walker) kindOf(dir, base string, e fs.DirEntry) (kind entryKind, ok bool, err error) {
	switch e.Type() {
	case 0:
		return entryFile, true, nil
	case fs.ModeDir:
		return entryDir, true, nil
	case fs.ModeSymlink:
		path := joinNative(dir, e.Name())
		info, err := os.Stat(path)
		switch {
		case isLoop(err):
			w.note(fmt.Sprintf("%s is left out: the link leads back to itself", showPath(base, path)))
		case isMissing(err):
		case err != nil:
			return 0, false, err
		case info.IsDir():
			return entryLinkToDir, true, nil
		case info.Mode().IsRegular():
			return entryLinkToFile, true, nil
		}
	}
	return 0, false, nil
}

// showPath names path as a person would who stands in base.
func showPath(base, path string) string {
	if rel, ok := within(base, path); ok {
		return rel
	}
	return path
}
