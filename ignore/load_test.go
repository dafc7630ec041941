package ignore

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func writeTree(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoad(t *testing.T) {
	paths := []string{"a.csv", "b.csv", "keep.csv", "d/x.csv"}
	tests := []struct {
		name    string
		files   map[string]string
		ignored []string // path and deciding rule
		read    []string
	}{
		{"none", nil, nil, []string{}},
		{"anchored at the root", map[string]string{"pyproject.toml": "", ".prefectignore": "/src/flows/a.csv"},
			[]string{"a.csv ../../.prefectignore:1"}, []string{"../../.prefectignore"}},
		{"not anchored at the base", map[string]string{"pyproject.toml": "", ".prefectignore": "/b.csv"},
			nil, []string{"../../.prefectignore"}},
		{"directory above", map[string]string{"pyproject.toml": "", ".prefectignore": "\n# c\nflows/d/"},
			nil, []string{"../../.prefectignore"}},
		{"base takes back", map[string]string{"pyproject.toml": "", ".prefectignore": "*.csv", "src/flows/.prefectignore": "!keep.csv"},
			[]string{"a.csv ../../.prefectignore:1", "b.csv ../../.prefectignore:1", "d/x.csv ../../.prefectignore:1"},
			[]string{"../../.prefectignore", ".prefectignore"}},
		{"base has the last word", map[string]string{"pyproject.toml": "", ".prefectignore": "!a.csv", "src/flows/.prefectignore": "*.csv"},
			[]string{"a.csv .prefectignore:1", "b.csv .prefectignore:1", "keep.csv .prefectignore:1", "d/x.csv .prefectignore:1"},
			[]string{"../../.prefectignore", ".prefectignore"}},
		{"each its own", map[string]string{"pyproject.toml": "", ".prefectignore": "a.csv", "src/flows/.prefectignore": "!b.csv"},
			[]string{"a.csv ../../.prefectignore:1"}, []string{"../../.prefectignore", ".prefectignore"}},
		{"root without pyproject.toml", map[string]string{".prefectignore": "*", "src/flows/.prefectignore": "d/"},
			[]string{"d/x.csv .prefectignore:1"}, []string{".prefectignore"}},
		{"between root and base", map[string]string{"pyproject.toml": "", "src/.prefectignore": "*"}, nil, []string{}},
		{"nearest root", map[string]string{"pyproject.toml": "", ".prefectignore": "*", "src/pyproject.toml": "", "src/.prefectignore": "a.csv"},
			[]string{"a.csv ../.prefectignore:1"}, []string{"../.prefectignore"}},
		{"base is the root", map[string]string{"src/flows/pyproject.toml": "", "src/flows/.prefectignore": "a.csv", ".prefectignore": "*"},
			[]string{"a.csv .prefectignore:1"}, []string{".prefectignore"}},
		{"pyproject.toml is a directory", map[string]string{"pyproject.toml/x": "", ".prefectignore": "a.csv"},
			[]string{"a.csv ../../.prefectignore:1"}, []string{"../../.prefectignore"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			writeTree(t, root, tt.files)
			writeTree(t, root, map[string]string{"src/flows/flow.py": ""})
			ig, err := Load(filepath.Join(root, "src", "flows"))
			if err != nil {
				t.Fatal(err)
			}
			var ignored []string
			for _, path := range paths {
				if v := ig.Match(path); v.Ignored {
					ignored = append(ignored, path+" "+v.Rule.String())
				}
			}
			if diff := cmp.Diff(tt.ignored, ignored); diff != "" {
				t.Errorf("ignored (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.read, ig.Files()); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	t.Run("pattern", func(t *testing.T) {
		root := t.TempDir()
		writeTree(t, root, map[string]string{".prefectignore": "ok\n\n!\n"})
		_, err := Load(root)
		var got *PatternError
		if !errors.As(err, &got) {
			t.Fatalf("got %v, want a PatternError", err)
		}
		want := &PatternError{Pattern: "!", Source: ".prefectignore", Line: 3, Reason: `nothing after "!"`}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("encoding", func(t *testing.T) {
		root := t.TempDir()
		writeTree(t, root, map[string]string{".prefectignore": "foo\n\xff\xfe\n"})
		if _, err := Load(root); !errors.Is(err, ErrEncoding) {
			t.Errorf("got %v, want ErrEncoding", err)
		}
	})
	t.Run("directory", func(t *testing.T) {
		root := t.TempDir()
		writeTree(t, root, map[string]string{".prefectignore/x": ""})
		if ig, err := Load(root); err == nil {
			t.Errorf("no error, read %q", ig.Files())
		}
	})
	t.Run("missing base", func(t *testing.T) {
		if _, err := Load(filepath.Join(t.TempDir(), "x")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v, want ErrNotExist", err)
		}
	})
}

func TestLoadLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege on Windows")
	}
	link := func(t *testing.T, target, name string) {
		t.Helper()
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("dangling and looping ones are absent", func(t *testing.T) {
		root := t.TempDir()
		writeTree(t, root, map[string]string{"p/q/x": "", "pyproject.toml": "", ".prefectignore": "*"})
		link(t, "nowhere", filepath.Join(root, "p/q/.prefectignore"))
		link(t, "pyproject.toml", filepath.Join(root, "p/pyproject.toml"))
		ig, err := Load(filepath.Join(root, "p/q"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"../../.prefectignore"}, ig.Files()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("the base is where the link leads", func(t *testing.T) {
		root := t.TempDir()
		writeTree(t, root, map[string]string{"a/pyproject.toml": "", "a/.prefectignore": "/b/x", "a/b/x": "", "c/y": ""})
		link(t, filepath.Join("..", "a", "b"), filepath.Join(root, "c/l"))
		ig, err := Load(filepath.Join(root, "c/l"))
		if err != nil {
			t.Fatal(err)
		}
		if v := ig.Match("x"); !v.Ignored || v.Rule.String() != "../.prefectignore:1" {
			t.Errorf("x: %+v", v)
		}
	})
}
