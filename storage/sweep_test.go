package storage_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/storage"
)

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-48 * time.Hour)
	for _, name := range []string{"a", "a.18c0ffee18c0ffee.tmp", "files/b.zip", "files/b.zip.18c0ffee18c0ffee.tmp", "files/b.tmp"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "files", "c.zip.18c0ffee18c0ffee.tmp"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	url, err := storage.FolderURL(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := storage.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Sweep(t.Context(), 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, pattern := range []string{"*", "files/*"} {
		paths, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, path := range paths {
			rel, _ := filepath.Rel(dir, path)
			got = append(got, filepath.ToSlash(rel))
		}
	}
	want := []string{"a", "files", "files/b.tmp", "files/b.zip", "files/c.zip.18c0ffee18c0ffee.tmp"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}
