package storage_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/storage/gocloud"
)

func openFolder(t *testing.T, dir string) *storage.Store {
	t.Helper()
	url, err := storage.FolderURL(dir)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, url)
}

func open(t *testing.T, url string) *storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), url, &storage.OpenOptions{Create: true, Openers: gocloud.Openers(nil)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s *storage.Store, key, content string) bool {
	t.Helper()
	stored, err := s.Put(t.Context(), key, strings.NewReader(content), describe(content))
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func describe(content string) storage.PutOptions {
	return storage.PutOptions{Size: int64(len(content)), SHA256: sha256.Sum256([]byte(content))}
}

func keys(t *testing.T, s *storage.Store, prefix string) []string {
	t.Helper()
	keys := []string{}
	for o, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// files are all files below dir, those that a store does not show included.
func files(t *testing.T, dir string) []string {
	t.Helper()
	names := []string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestPutRefuses(t *testing.T) {
	for _, test := range []struct {
		name, key, content string
		size               int64
		want               string
	}{
		{"shorter", "k", "abc", 4, "1 bytes less than announced"},
		{"longer", "k", "abcde", 4, "more bytes than announced"},
		{"no key", "", "", 0, "not a valid key"},
		{"leads out", "../k", "", 0, "not a valid key"},
		{"absolute", "/k", "", 0, "not a valid key"},
		{"not clean", "a//k", "", 0, "not a valid key"},
		{"control character", "a\nb", "", 0, "not a valid key"},
		{"temporary", "k.0123456789abcdef.tmp", "", 0, "temporary"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openFolder(t, dir)
			_, err := s.Put(t.Context(), test.key, strings.NewReader(test.content), storage.PutOptions{Size: test.size})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if diff := cmp.Diff([]string{}, files(t, dir)); diff != "" {
				t.Errorf("left behind (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPutAtOnce(t *testing.T) {
	dir := t.TempDir()
	content := strings.Repeat("x", 1<<20)
	var wg sync.WaitGroup
	for range 8 {
		s := openFolder(t, dir)
		wg.Go(func() {
			if _, err := s.Put(t.Context(), "k", strings.NewReader(content), describe(content)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff([]string{"k"}, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestGet(t *testing.T) {
	s := openFolder(t, t.TempDir())
	content := strings.Repeat("content", 10000)
	put(t, s, "k", content)
	dir := t.TempDir()
	path := filepath.Join(dir, "k")
	err := s.Get(t.Context(), "k", path, &storage.GetOptions{SHA256: sha256.Sum256([]byte("something else"))})
	if !errors.Is(err, storage.ErrDigest) {
		t.Errorf("error %v, want ErrDigest", err)
	}
	if diff := cmp.Diff([]string{}, files(t, dir)); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
	var came int64
	err = s.Get(t.Context(), "k", path, &storage.GetOptions{SHA256: sha256.Sum256([]byte(content)), Progress: func(n int64) { came += n }})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, []byte(content)) || came != int64(len(content)) {
		t.Errorf("got %d bytes, progress %d, error %v; want %d", len(b), came, err, len(content))
	}
}

func TestFolderNames(t *testing.T) {
	for _, name := range []string{"with space", "100%", "%20", "what?", "a#b", "a&b=c", "ünï", "a+b", "a:b"} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && strings.ContainsAny(name, "?:") {
				t.Skip("not a file name on Windows")
			}
			dir := filepath.Join(t.TempDir(), name)
			put(t, openFolder(t, dir), "files/k", "content")
			if diff := cmp.Diff([]string{"files/k"}, files(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFolderIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits")
	}
	top := t.TempDir()
	put(t, openFolder(t, filepath.Join(top, "store")), "files/k", "content")
	for path, want := range map[string]fs.FileMode{"store": 0o700, "store/files": 0o700, "store/files/k": 0o600} {
		info, err := os.Stat(filepath.Join(top, path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, error %v; want %v", path, info.Mode().Perm(), err, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"file://relative/path":  "three slashes",
		"file:///a?create_dir=": "no query",
		"file:///a#b":           "no fragment",
		"file:///%zz":           "invalid URL escape",
		"nowhere://bucket":      "no driver",
	} {
		if _, err := storage.Open(t.Context(), url, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("open %q: %v, want %q", url, err, want)
		}
	}
	url, _ := storage.FolderURL(filepath.Join(t.TempDir(), "missing"))
	if _, err := storage.Open(t.Context(), url, nil); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("missing folder: %v, want ErrNotFound", err)
	}
}

// An object of which a killed writer left its temporary file is not there.
func TestStrandedWriter(t *testing.T) {
	dir := t.TempDir()
	s := openFolder(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "k.18c2a51f4b3d2e01.tmp"), []byte("ha"), 0o600); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{}, keys(t, s, "")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if !put(t, s, "k", "half") {
		t.Error("was not stored")
	}
}

// Whatever a folder is called, its URL leads to it and nowhere else.
func FuzzFolderURL(f *testing.F) {
	if runtime.GOOS == "windows" {
		f.Skip("Windows refuses some of the names")
	}
	for _, name := range []string{"a b", "100%", "%2e%2e", "a?b#c", "ü", "a//b", ".", "\\", "a\nb"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.ContainsAny(name, "/\x00") || name == "" || name == "." || name == ".." || len(name) > 200 {
			return
		}
		top := t.TempDir()
		put(t, openFolder(t, filepath.Join(top, name)), "k", "content")
		entries, err := os.ReadDir(top)
		if err != nil || len(entries) != 1 || entries[0].Name() != name {
			t.Errorf("%q became %v (%v)", name, entries, err)
		}
	})
}

// The order is that of the keys, and not that in which directories are read.
func TestFolderListsInOrder(t *testing.T) {
	s := openFolder(t, t.TempDir())
	for _, key := range []string{"a/b/c.d", "ab", "a.b", "a0/b"} {
		put(t, s, key, "")
	}
	want := []string{"a.b", "a/b/c.d", "a0/b", "ab"}
	if diff := cmp.Diff(want, keys(t, s, "")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a/b/c.d"}, keys(t, s, "a/b")); diff != "" {
		t.Errorf("keys below a prefix (-want +got):\n%s", diff)
	}
}

// A folder that is removed while it is open is not an empty one.
func TestFolderGone(t *testing.T) {
	dir := t.TempDir()
	s := openFolder(t, dir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	for _, err := range s.List(t.Context(), "") {
		if !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("list: %v, want %v", err, storage.ErrNotFound)
		}
		return
	}
	t.Error("the folder is listed as empty")
}

func TestFolderReplacesBrokenLink(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(dir, "k")); err != nil {
		t.Skip(err)
	}
	s := openFolder(t, dir)
	put(t, s, "k", "content")
	if diff := cmp.Diff([]string{"k"}, keys(t, s, "")); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// The directories above an object end with the root.
func TestFolderIsRoot(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are several roots on Windows")
	}
	s := open(t, "file:///")
	put(t, s, strings.TrimPrefix(t.TempDir(), "/")+"/k", "content")
}
