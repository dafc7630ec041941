package submit

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flowship/flowship/bundle"
)

// forgotten is the sidecar of a document that Prefect's client has packed and does not upload: ""
// for one that it does upload. A worker in the client's process, which a direct call on Docker has,
// uploads the document alone, and leaves the sidecar in a temporary directory.
func forgotten(ctx context.Context, document string) (path, key string, err error) {
	b, err := bundle.Open(document)
	if err != nil || b.Document == nil || b.Document.FilesKey == "" {
		return "", "", nil // it is stored as it is, whatever it is
	}
	if _, err := os.Stat(b.ArchivePath); err == nil {
		return "", "", nil // it is beside the document because it comes next
	}
	wanted, err := bundle.ParseFilesKey(b.Document.FilesKey)
	if err != nil {
		return "", "", nil
	}
	for _, path := range leftSidecars() {
		if holds(ctx, path, wanted) {
			return path, b.Document.FilesKey, nil
		}
	}
	return "", "", ctx.Err()
}

// leftSidecars are what Prefect has packed, the latest first. Python and Go look for temporary
// directories in the same place, where others of this machine may have theirs: those do not count.
func leftSidecars() []string {
	entries, _ := os.ReadDir(os.TempDir())
	packed := map[string]time.Time{}
	for _, e := range entries {
		dir, err := e.Info()
		if err != nil || !strings.HasPrefix(e.Name(), "prefect-zip-") || !dir.IsDir() || !owned(dir) {
			continue
		}
		path := filepath.Join(os.TempDir(), e.Name(), "files.zip")
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			packed[path] = info.ModTime()
		}
	}
	return slices.SortedFunc(maps.Keys(packed), func(a, b string) int { return packed[b].Compare(packed[a]) })
}

// holds reports whether the sidecar has the files with that digest.
func holds(ctx context.Context, path string, wanted bundle.Digest) bool {
	b, err := bundle.Open(path)
	if err != nil {
		return false
	}
	m, err := b.Manifest(ctx)
	return err == nil && m.Digest == wanted
}
