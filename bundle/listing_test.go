package bundle_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
)

// packed packs files and returns the archive's bytes.
func packed(t *testing.T, files map[string]string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := bundle.Collect(t.Context(), dir, []string{"*"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sidecar.zip")
	if _, err := bundle.PackFile(t.Context(), c, path, nil); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestListing(t *testing.T) {
	list := func(files map[string]string) *bundle.Listing {
		b := packed(t, files)
		l, err := bundle.List(bytes.NewReader(b), int64(len(b)), "s.zip")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	old := list(map[string]string{"a": "1", "b": "2", "c/d": "33"})
	if diff := cmp.Diff([]bundle.Entry{{Path: "a", Mode: 0o100600, Size: 1}, {Path: "b", Mode: 0o100600, Size: 1}, {Path: "c/d", Mode: 0o100600, Size: 2}}, old.Entries); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if d := bundle.DiffListings(old, list(map[string]string{"a": "1", "b": "2", "c/d": "33"})); !d.Empty() {
		t.Errorf("the same files differ: %+v", d)
	}
	want := &bundle.Difference{
		Added:   []bundle.Entry{{Path: "e", Mode: 0o100600, Size: 1}},
		Removed: []bundle.Entry{{Path: "a", Mode: 0o100600, Size: 1}},
		Changed: []bundle.Change{{Path: "b", From: bundle.Entry{Path: "b", Mode: 0o100600, Size: 1}, To: bundle.Entry{Path: "b", Mode: 0o100600, Size: 1}}},
	}
	if diff := cmp.Diff(want, bundle.DiffListings(old, list(map[string]string{"b": "x", "c/d": "33", "e": "1"}))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

type brokenReader struct{ err error }

func (b brokenReader) ReadAt([]byte, int64) (int, error) { return 0, b.err }

// What the store says is not taken for damage of the archive.
func TestListingCannotBeRead(t *testing.T) {
	broken := errors.New("connection lost")
	if _, err := bundle.List(brokenReader{broken}, 1000, "s.zip"); err != broken {
		t.Errorf("error %v", err)
	}
	b := packed(t, map[string]string{"a": "1"})
	if _, err := bundle.List(bytes.NewReader(b[:len(b)-30]), int64(len(b)-30), "s.zip"); bundle.KindOf(err) != bundle.KindTampered {
		t.Errorf("cut off: %v", err)
	}
	if _, err := bundle.List(bytes.NewReader(nil), 0, "s.zip"); bundle.KindOf(err) != bundle.KindTampered {
		t.Errorf("empty: %v", err)
	}
}

func FuzzList(f *testing.F) {
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := bundle.List(bytes.NewReader(b), int64(len(b)), "s.zip")
		if err == nil && len(l.Entries) != len(l.CRC32) {
			t.Errorf("%d entries, %d checksums", len(l.Entries), len(l.CRC32))
		}
		if err != nil && errors.Is(err, io.EOF) && bundle.KindOf(err) == "" {
			t.Errorf("a bare %v", err)
		}
	})
}
