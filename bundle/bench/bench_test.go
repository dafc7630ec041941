package main

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestTree makes a tree twice: figures of two runs compare only if both packed the same bytes.
func TestTree(t *testing.T) {
	made := func() map[string]string {
		root := filepath.Join(t.TempDir(), "tree")
		size, err := tree{"test", 250, small}.make(root)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := walkReadHash(root); err != nil || n != size {
			t.Errorf("read %d bytes, error %v; want %d bytes", n, err, size)
		}
		contents := map[string]string{}
		err = fs.WalkDir(os.DirFS(root), ".", func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			if age := time.Since(info.ModTime()); age < 30*time.Second {
				t.Errorf("%s is %s old, too young for a cache", path, age)
			}
			b, err := os.ReadFile(filepath.Join(root, path))
			contents[path] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return contents
	}
	first := made()
	if len(first) != 250 {
		t.Errorf("%d files, want 250", len(first))
	}
	if diff := cmp.Diff(first, made()); diff != "" {
		t.Errorf("the second tree differs (-first +second):\n%s", diff)
	}
}

func TestTreeNamed(t *testing.T) {
	for name, files := range map[string]int{"1500": 1500, "16384": 16384, "100000": 100000, "1gib": 16} {
		tree, err := treeNamed(name)
		if err != nil || tree.files != files {
			t.Errorf("%s: %d files, error %v; want %d files", name, tree.files, err, files)
		}
	}
	if n := 16 * large(rand.New(rand.NewPCG(1, 1))); n != 1<<30 {
		t.Errorf("1gib has %d bytes", n)
	}
	if _, err := treeNamed("10"); err == nil || !strings.Contains(err.Error(), `"10"`) {
		t.Errorf("unknown tree: error %v", err)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	err := writeTable(&b, []result{
		{tree: tree{name: "1500", files: 1500}, bytes: 3 << 20, prefect: 500 * time.Millisecond, floor: 20 * time.Millisecond,
			digest: 25 * time.Millisecond, cached: 10 * time.Millisecond, build: 50 * time.Millisecond,
			digestPeak: 20 << 20, cachedPeak: 15 << 20, peak: 30 << 20, zip: 101, prefectZip: 100},
		{tree: tree{name: "1gib", files: 16}, bytes: 1 << 30, floor: time.Second, digest: time.Second, cached: time.Millisecond, build: 2 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, rows, ok := strings.Cut(b.String(), "|---|\n")
	if !ok {
		t.Fatalf("no table in\n%s", b.String())
	}
	want := "| 1500 | 3.0 MiB | 0.500 | 0.020 | 0.025 | 20.0 | 1.25 | 20 | 0.010 | 50.0 | 15 | 0.050 | 10.0 | 30 | 101 % |\n" +
		"| 16 | 1024.0 MiB | – | 1.000 | 1.000 | – | 1.00 | – | 0.001 | – | – | 2.000 | – | – | – |\n"
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	// Every row has as many cells as the heading.
	for line := range strings.Lines(b.String()) {
		if n := strings.Count(line, "|"); n != 0 && n != 16 {
			t.Errorf("%d cells in %q", n-1, line)
		}
	}
}
