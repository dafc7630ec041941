package bundle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// placing moves extracted files into a directory that has others, and can take all of it back.
type placing struct {
	root     *os.Root
	replaced string // directory in root for the files that gave way
	count    int
	done     []move // in order
}

type move struct{ from, to string }

// place moves what lies in the directory from to the directory to: whole subtrees where nothing
// stands in the way, else their parts.
func (p *placing) place(from, to string) error {
	staged, err := fs.ReadDir(p.root.FS(), filepath.ToSlash(from))
	if err != nil {
		return fileError(to, err)
	}
	for _, e := range staged {
		source, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		_, err := p.root.Lstat(target)
		there := !errors.Is(err, fs.ErrNotExist)
		if there && e.IsDir() {
			if err := p.place(source, target); err != nil {
				return err
			}
			continue
		}
		if there {
			if err := p.giveWay(target); err != nil {
				return err
			}
		}
		if err := p.move(source, target); err != nil {
			return writeError(filepath.ToSlash(target), err)
		}
	}
	return nil
}

// giveWay keeps a file that is about to be overwritten.
func (p *placing) giveWay(target string) error {
	if err := p.root.Mkdir(p.replaced, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return writeError(filepath.ToSlash(target), err)
	}
	p.count++
	if err := p.move(target, filepath.Join(p.replaced, strconv.Itoa(p.count))); err != nil {
		return writeError(filepath.ToSlash(target), err)
	}
	return nil
}

func (p *placing) move(from, to string) error {
	if err := p.root.Rename(from, to); err != nil {
		return err
	}
	p.done = append(p.done, move{from, to})
	return nil
}

// undo puts everything back where it was.
func (p *placing) undo() error {
	var errs []error
	for _, m := range slices.Backward(p.done) {
		if err := p.root.Rename(m.to, m.from); err != nil {
			errs = append(errs, writeError(filepath.ToSlash(m.from), err))
		}
	}
	return errors.Join(errs...)
}
