package bundle_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
)

func TestCollectErrors(t *testing.T) {
	dir := tree{"a": "a", "d/b": "b", "flow.py": ""}.write(t, t.TempDir())
	if err := errors.Join(mkfifo(dir+"/pipe"), os.Symlink("/dev/null", dir+"/null"), os.Symlink("loop", dir+"/loop"), os.Symlink("pipe", dir+"/piped")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		include string
		kind    bundle.Kind
		want    string
	}{
		{"", bundle.KindEmpty, `"": the pattern is empty`},
		{"/", bundle.KindEmpty, `"/": the pattern is empty`},
		{" \u00a0", bundle.KindWhitespace, "\" \\u00a0\": the pattern is blank"},
		{"a\x00b", bundle.KindNullByte, `"a\x00b": the pattern holds a null byte`},
		{"/etc/passwd", bundle.KindAbsolute, `"/etc/passwd": absolute paths cannot be packed`},
		{"C:x", bundle.KindAbsolute, `"C:x": absolute paths cannot be packed`},
		{"../x", bundle.KindTraversal, `"../x": leads out of the base directory ` + dir},
		{"null", bundle.KindTraversal, `"null": the link leads out of the base directory ` + dir},
		{"loop", bundle.KindSymlinkLoop, `"loop": the link leads back to itself`},
		{"!!", bundle.KindInvalidPattern, ""},
		{"[z-a]", bundle.KindInvalidPattern, ""},
		{"pipe", bundle.KindRefused, `"pipe": is a named pipe; only regular files can be packed`},
		{"piped", bundle.KindRefused, `"pipe": is a named pipe; only regular files can be packed`},
		{"a/..", bundle.KindRefused, `".": the name has a component "."`},
	} {
		_, err := bundle.Collect(context.Background(), dir, []string{test.include}, nil)
		if bundle.KindOf(err) != test.kind || test.want != "" && err.Error() != test.want {
			t.Errorf("%q: kind %q, error %v; want %q, %s", test.include, bundle.KindOf(err), err, test.kind, test.want)
		}
	}
	for base, want := range map[string]bundle.Kind{filepath.Join(dir, "missing"): bundle.KindNotFound, filepath.Join(dir, "a"): bundle.KindNotFound, filepath.Join(dir, "loop"): bundle.KindSymlinkLoop} {
		if _, err := bundle.Collect(context.Background(), base, nil, nil); bundle.KindOf(err) != want {
			t.Errorf("base %s: kind %q, error %v, want %q", base, bundle.KindOf(err), err, want)
		}
	}
}

// TestCollectUnreadable takes a directory's permissions away, which only others than root feel.
func TestCollectUnreadable(t *testing.T) {
	dir := tree{"d/b": "b", "a": "a"}.write(t, t.TempDir())
	if err := os.Chmod(dir+"/d", 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir+"/d", 0o755)
	if _, err := os.ReadDir(dir + "/d"); !errors.Is(err, fs.ErrPermission) {
		t.Skip("this user may read everything")
	}
	if _, err := bundle.Collect(context.Background(), dir, []string{"*"}, nil); bundle.KindOf(err) != bundle.KindUnreadable {
		t.Errorf("kind %q, error %v", bundle.KindOf(err), err)
	}
}

// TestCollectNotes has what Prefect gives up on, or passes over in silence.
func TestCollectNotes(t *testing.T) {
	dir := tree{"a": "a", "d/b": "b"}.write(t, t.TempDir())
	if err := errors.Join(os.Symlink(".", dir+"/d/self"), os.Symlink("loop", dir+"/loop"), os.Symlink("gone", dir+"/broken"),
		os.WriteFile(dir+"/large", nil, 0o644), os.Truncate(dir+"/large", 11<<20)); err != nil {
		t.Fatal(err)
	}
	c := collect(t, dir, "*", "!nothing", "none*")
	want := []string{
		"loop is left out: the link leads back to itself",
		"d/self is left out: the link leads to a directory that it lies in",
		"large file: large (11.0 MB)",
	}
	if diff := cmp.Diff(want, c.Notes); diff != "" {
		t.Errorf("notes: %s", diff)
	}
	if diff := cmp.Diff([]string{"Pattern 'none*' matched no files"}, c.Warnings); diff != "" {
		t.Errorf("warnings: %s", diff)
	}
}

func TestCollectWhy(t *testing.T) {
	dir := tree{
		".prefectignore": "*.log\n# comment\nd/secret\n", "pyproject.toml": "", "a.py": "", "b.log": "", "d/c": "", "d/secret": "", "d/e.log": "", ".env": "",
	}.write(t, t.TempDir())
	c := collect(t, dir, "*.py", "d/", ".", "d/secret", ".env")
	why := map[string]string{}
	for _, f := range c.Files {
		why[f.Path] = f.Why
	}
	if diff := cmp.Diff(map[string]string{"a.py": "*.py", "d/c": "d/", "pyproject.toml": ".", ".env": ".env"}, why); diff != "" {
		t.Errorf("why: %s", diff)
	}
	excluded := []bundle.Excluded{
		{Path: "b.log", Rule: "*.log", Source: ".prefectignore:1"},
		{Path: "d/e.log", Rule: "*.log", Source: ".prefectignore:1"},
		{Path: "d/secret", Rule: "d/secret", Source: ".prefectignore:3", Explicit: true},
	}
	if diff := cmp.Diff(excluded, c.Excluded); diff != "" {
		t.Errorf("excluded: %s", diff)
	}
	if diff := cmp.Diff([]bundle.Sensitive{{Path: ".env", Rule: ".env*"}}, c.Sensitive); diff != "" {
		t.Errorf("sensitive: %s", diff)
	}
}

func TestExplain(t *testing.T) {
	dir := tree{
		"a.py": "", "b.log": "", "d/c": "", "d/tmp/x": "", "d/.hidden": "", "node_modules/m.js": "", "d/venv/lib": "", "d/x.pyc": "", "my.prefectignore": "",
		"other": "", "kept/in.txt": "", ".prefectignore": "*.log\nkept/\n!kept/in.txt\n",
	}.write(t, t.TempDir())
	include := []string{"d/", "!d/tmp/", "*.py", "*.log", "**/*.js", "*.prefectignore", "kept/"}
	paths := []string{"a.py", "./d/c", "d/tmp/x", "d/.hidden", "d/venv/lib", "d/x.pyc", "node_modules/m.js", "b.log", "my.prefectignore", "other", "missing", "kept/in.txt"}
	got, err := bundle.Explain(context.Background(), dir, include, paths, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []bundle.Explanation{
		{Path: "a.py", Included: true, Reason: "include", Rule: "*.py", Source: "--include[2]"},
		{Path: "./d/c", Included: true, Reason: "include", Rule: "d/", Source: "--include[0]"},
		{Path: "d/tmp/x", Reason: "negated", Rule: "!d/tmp/", Source: "--include[1]"},
		{Path: "d/.hidden", Reason: "hidden", Rule: "d/", Source: "--include[0]"},
		{Path: "d/venv/lib", Reason: "default exclusion", Rule: "venv/"},
		{Path: "d/x.pyc", Reason: "default exclusion", Rule: "*.pyc"},
		{Path: "node_modules/m.js", Reason: "default exclusion", Rule: "node_modules/"},
		{Path: "b.log", Reason: "ignored", Rule: "*.log", Source: ".prefectignore:1"},
		{Path: "my.prefectignore", Reason: "always excluded", Rule: ".prefectignore"},
		{Path: "other", Reason: "not matched"},
		{Path: "missing", Reason: "not matched"},
		{Path: "kept/in.txt", Included: true, Reason: "include", Rule: "kept/", Source: "--include[6]", Git: "ignored"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCollectSource(t *testing.T) {
	dir := tree{
		"flows/flow.py": `"""import not_this
from nor.this import it"""
import os, helpers as h  # import nor_this
from pkg.sub import (one,
    two as zwei)
from pkg import leaf
if True: import late
def f(x):
    import inner.deep; from prefect import flow
    s = "import no"; t = r'''
import no
'''
    return {"a": 1}
from missing import x
import base_level
`,
		"flows/helpers.py":       "from .rel import y\nimport helpers\n",
		"flows/rel.py":           "",
		"flows/pkg/__init__.py":  "from . import sibling\n",
		"flows/pkg/sibling.py":   "from ..above import z\nfrom .import cousin\n",
		"flows/pkg/cousin.py":    "",
		"flows/pkg/sub.py":       "",
		"flows/pkg/leaf.py":      "",
		"flows/pkg/unused.py":    "",
		"flows/above.py":         "",
		"flows/late/__init__.py": "",
		"flows/inner/deep.py":    "",
		"flows/not_this.py":      "",
		"flows/nor_this.py":      "",
		"flows/no.py":            "",
		"base_level.py":          "",
		".prefectignore":         "rel.py\n",
	}.write(t, t.TempDir())
	c, err := bundle.Collect(context.Background(), dir, []string{"flows/late/", "flows/rel.py"}, &bundle.CollectOptions{Entrypoint: "flows/flow.py:main"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range c.Files {
		got[f.Path] = f.Why
	}
	want := map[string]string{
		"flows/flow.py":          "entrypoint",
		"flows/helpers.py":       "import of flows/flow.py:3",
		"flows/rel.py":           "import of flows/helpers.py:1",
		"flows/pkg/__init__.py":  "import of flows/flow.py:4",
		"flows/pkg/sub.py":       "import of flows/flow.py:4",
		"flows/pkg/leaf.py":      "import of flows/flow.py:6",
		"flows/pkg/sibling.py":   "import of flows/pkg/__init__.py:1",
		"flows/pkg/cousin.py":    "import of flows/pkg/sibling.py:2",
		"flows/above.py":         "import of flows/pkg/sibling.py:1",
		"flows/late/__init__.py": "flows/late/",
		"flows/inner/deep.py":    "import of flows/flow.py:9",
		"base_level.py":          "import of flows/flow.py:15",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packed (-want +got):\n%s", diff)
	}
	if len(c.Excluded) != 0 {
		t.Errorf("excluded: %v", c.Excluded)
	}
	for entrypoint, want := range map[string]bundle.Kind{"missing.py:f": bundle.KindNotFound, "../x.py:f": bundle.KindTraversal, "flow": bundle.KindNotFound, "flows.py:f": bundle.KindNotFound} {
		if _, err := bundle.Collect(context.Background(), dir, nil, &bundle.CollectOptions{Entrypoint: entrypoint}); bundle.KindOf(err) != want {
			t.Errorf("%s: kind %q, error %v, want %q", entrypoint, bundle.KindOf(err), err, want)
		}
	}
}

// TestSourceLinksKeepTheirNames packs a flow file and a module that are links: under the names
// of their targets nobody could import them.
func TestSourceLinksKeepTheirNames(t *testing.T) {
	dir := tree{"real_flow.py": "import helper\n", "lib/helper.py": "", ".prefectignore": "helper.py\n"}.write(t, t.TempDir())
	if err := errors.Join(os.Symlink("real_flow.py", dir+"/flow.py"), os.Symlink("lib/helper.py", dir+"/helper.py")); err != nil {
		t.Fatal(err)
	}
	c, err := bundle.Collect(context.Background(), dir, []string{"lib/"}, &bundle.CollectOptions{Entrypoint: "flow.py:main"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Build(context.Background(), c, bundle.Invocation{Runtime: bundle.RuntimePython, Entrypoint: "flow.py:main"}, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	open, err := bundle.Open(b.DocumentPath)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open.Extract(context.Background(), to, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree{"flow.py": "import helper\n", "helper.py": ""}, readTree(t, to)); diff != "" {
		t.Error(diff)
	}
	if r, err := open.Verify(context.Background(), &bundle.VerifyOptions{Against: dir}); err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestBelow follows links before "..", as the system does.
func TestBelow(t *testing.T) {
	dir := tree{"real/deep/f": "", "real/g": "", "h": ""}.write(t, t.TempDir())
	if err := os.Symlink("real/deep", dir+"/l"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ base, file, want string }{
		{dir, dir + "/real/g", "real/g"},
		{dir, dir + "/l/f", "real/deep/f"},
		{dir + "/l", dir + "/real/deep/f", "f"},
		{dir + "/l/..", dir + "/real/g", "g"},
		{dir + "/real", dir + "/l/../g", "g"},
		{dir, dir + "/l/new", "real/deep/new"},
		{dir + "/l", dir + "/h", ""},
	} {
		got, err := bundle.Below(test.base, test.file)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s below %s is %q, %v; want %q", test.file, test.base, got, err, test.want)
		}
	}
	if diff := cmp.Diff(hash(t, collect(t, dir+"/real", "."), nil), hash(t, collect(t, dir+"/l/..", "."), nil)); diff != "" {
		t.Errorf("l/.. is not real: %s", diff)
	}
}
