package storage

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
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

// folderPath is the inverse of [FolderURL].
func folderPath(raw string) (string, error) {
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

// openFolder has fileblob write its temporary files beside the objects, because a rename does
// not cross file systems, and no files of attributes.
func openFolder(raw string, create bool) (*blob.Bucket, error) {
	dir, err := folderPath(raw)
	if err != nil {
		return nil, err
	}
	return fileblob.OpenBucket(dir, &fileblob.Options{
		CreateDir:   create,
		DirFileMode: 0o700,
		NoTempDir:   true,
		Metadata:    fileblob.MetadataDontWrite,
	})
}

// temporaryName is how fileblob calls an object that is being written; a killed writer leaves
// one behind.
var temporaryName = regexp.MustCompile(`\.[0-9a-f]{16}\.tmp$`)

func isTemporary(key string) bool { return temporaryName.MatchString(key) }
