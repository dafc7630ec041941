package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

const folderScheme = "file://"

// FolderURL returns the URL of a folder.
func FolderURL(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("storage: folder %q: %w", dir, err)
	}
	p := filepath.ToSlash(abs)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p // C:/dir
	}
	return (&url.URL{Scheme: "file", Path: p}).String(), nil
}

// FolderPath is the inverse of [FolderURL].
func FolderPath(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", err
	}
	switch {
	case u.Host != "" && u.Host != "localhost":
		return "", fmt.Errorf("host %q: a folder's URL has three slashes, as in file:///path", u.Host)
	case u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("a folder's URL has no query and no fragment: write ? as %%3F and # as %%23")
	case !strings.HasPrefix(u.Path, "/"):
		return "", fmt.Errorf("the path is not absolute")
	}
	p := u.Path
	if runtime.GOOS == "windows" {
		p = strings.TrimPrefix(p, "/")
	}
	return filepath.FromSlash(p), nil
}

// temporaryName is what an object is called that is being written; a killed writer leaves one
// behind.
var temporaryName = regexp.MustCompile(`\.[0-9a-f]{16}\.tmp$`)

func isTemporary(key string) bool { return temporaryName.MatchString(key) }

// Sweep removes what writers left in a folder that were killed at least age ago. A younger file
// may belong to one that still writes. In other stores there is nothing to remove.
func (s *Store) Sweep(ctx context.Context, age time.Duration) error {
	if s.folder == nil {
		return nil
	}
	err := filepath.WalkDir(s.folder.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !e.Type().IsRegular() || !isTemporary(e.Name()) {
			return err
		}
		info, err := e.Info()
		if err == nil && time.Since(info.ModTime()) >= age {
			err = os.Remove(path)
		}
		if errors.Is(err, fs.ErrNotExist) { // its writer is done
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("storage: sweep %q: %w", s.url, err)
	}
	return nil
}
