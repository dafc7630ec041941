package bundle_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
)

// vector is a packing case that was recorded from Prefect 3.8.8 itself; testdata/vectors/README.md
// says what the members mean.
type vector struct {
	ID      string
	Class   string
	Tree    []treeEntry
	FlowDir string `json:"flow_dir"`
	Include []string
	Expect  outcome
	Accept  []outcome
}

type treeEntry struct {
	Path    string
	PathB64 []byte `json:"path_b64"`
	Content *string
	B64     []byte `json:"content_b64"`
	Repeat  int
	Mode    string
	Symlink string
	Dir     bool
	FIFO    bool
}

type outcome struct {
	Outcome   string
	Files     []string
	FilesKey  *string `json:"files_key"`
	Warnings  []string
	Excluded  []string
	Sensitive []string
	Kind      *string
}

func TestVectors(t *testing.T) {
	for _, v := range readVectors(t, "../testdata/vectors/collect.jsonl") {
		t.Run(v.ID+"/"+v.Class, func(t *testing.T) {
			root := t.TempDir()
			for _, e := range v.Tree {
				e.make(t, root)
			}
			got := pack(t, filepath.Join(root, v.FlowDir), v.Include)
			wants := append([]outcome{v.Expect}, v.Accept...)
			if !slices.ContainsFunc(wants, func(want outcome) bool { return want.diff(got) == "" }) {
				t.Errorf("include %q:\n%s", v.Include, v.Expect.diff(got))
			}
		})
	}
}

func readVectors(t *testing.T, path string) []vector {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var vectors []vector
	s := bufio.NewScanner(f)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var v vector
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		vectors = append(vectors, v)
	}
	if s.Err() != nil || len(vectors) == 0 {
		t.Fatalf("%s: %d vectors, %v", path, len(vectors), s.Err())
	}
	return vectors
}

// pack does what `flowship bundle build` does and says how it ended.
func pack(t *testing.T, base string, include []string) outcome {
	t.Helper()
	ctx := context.Background()
	c, err := bundle.Collect(ctx, base, include, nil)
	if err != nil {
		kind := string(bundle.KindOf(err))
		if kind == "" {
			t.Errorf("an error without a kind: %v", err)
		}
		return outcome{Outcome: "error", Kind: &kind}
	}
	got := outcome{Outcome: "ok", Warnings: c.Warnings}
	for _, f := range c.Files {
		got.Files = append(got.Files, f.Path)
	}
	for _, e := range c.Excluded {
		got.Excluded = append(got.Excluded, e.Path)
	}
	for _, s := range c.Sensitive {
		got.Sensitive = append(got.Sensitive, s.Path)
	}
	if len(c.Files) == 0 {
		return got
	}
	m, err := bundle.Hash(ctx, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	var zip bytes.Buffer
	packed, err := bundle.Pack(ctx, c, &zip, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, packed.Manifest); diff != "" {
		t.Errorf("packed is not what was hashed (-hashed +packed):\n%s", diff)
	}
	key := m.FilesKey()
	got.FilesKey = &key
	return got
}

// diff compares what the vectors promise; where Prefect went on without any files we fail.
func (want outcome) diff(got outcome) string {
	if want.Outcome != "ok" {
		want = outcome{Outcome: "error", Kind: want.Kind}
		if want.Kind == nil {
			want.Kind = got.Kind
		}
	}
	for _, o := range []*outcome{&want, &got} {
		for _, list := range []*[]string{&o.Files, &o.Warnings, &o.Excluded, &o.Sensitive} {
			*list = append([]string{}, *list...)
		}
		slices.Sort(o.Excluded)
		slices.Sort(o.Sensitive)
	}
	return cmp.Diff(want, got)
}

func (e treeEntry) make(t *testing.T, root string) {
	t.Helper()
	if e.PathB64 != nil {
		e.Path = string(e.PathB64)
	}
	path := root + "/" + e.Path
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.MkdirAll(filepath.Dir(path), 0o755))
	switch {
	case e.Dir:
		check(os.MkdirAll(path, 0o755))
	case e.Symlink != "":
		check(os.Symlink(e.Symlink, path))
	case e.FIFO:
		check(mkfifo(path))
	default:
		content := e.B64
		if e.Content != nil {
			content = []byte(*e.Content)
		}
		check(os.WriteFile(path, bytes.Repeat(content, max(1, e.Repeat)), 0o644))
		mode := int64(0o644)
		if e.Mode != "" {
			var err error
			mode, err = strconv.ParseInt(e.Mode, 8, 32)
			check(err)
		}
		check(chmod(path, uint32(mode)))
	}
}
