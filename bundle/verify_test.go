package bundle_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
)

// TestEveryByteOfTheSidecar changes each byte in turn: verify must report it, with the document
// and without, and extract must write nothing.
func TestEveryByteOfTheSidecar(t *testing.T) {
	ctx := context.Background()
	b := build(t, collect(t, tree{"config.yaml": "key: value\n", "d/e.txt": "text text text"}.write(t, t.TempDir()), "."), nil)
	alone := &bundle.Bundle{ArchivePath: b.ArchivePath}
	whole, err := os.ReadFile(b.ArchivePath)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "to")
	for i := range whole {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			damaged := bytes.Clone(whole)
			damaged[i] ^= flip
			if err := os.WriteFile(b.ArchivePath, damaged, 0o644); err != nil {
				t.Fatal(err)
			}
			for name, ref := range map[string]*bundle.Bundle{"bundle": b, "sidecar alone": alone} {
				r, err := ref.Verify(ctx, nil)
				if err != nil || r.OK || len(r.Problems) == 0 {
					t.Errorf("%s, byte %d xor %#x: verify says %+v, %v", name, i, flip, r, err)
				}
				_, err = ref.Extract(ctx, to, nil)
				if kind := bundle.KindOf(err); kind != bundle.KindTampered && kind != bundle.KindRefused {
					t.Errorf("%s, byte %d xor %#x: extract says %v", name, i, flip, err)
				}
				expectEmpty(t, filepath.Dir(to))
			}
		}
	}
	for _, size := range []int{0, 1, 21, 22, len(whole) / 2, len(whole) - 1} {
		if err := os.WriteFile(b.ArchivePath, whole[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		if r, err := b.Verify(ctx, nil); err != nil || r.OK {
			t.Errorf("cut to %d bytes: %+v, %v", size, r, err)
		}
	}
	if err := os.WriteFile(b.ArchivePath, append(whole, 0), 0o644); err != nil {
		t.Fatal(err)
	}
	if r, err := alone.Verify(ctx, nil); err != nil || r.OK {
		t.Errorf("a byte appended: %+v, %v", r, err)
	}
}

// verifyPath is what `flowship bundle verify` does.
func verifyPath(path string, opts *bundle.VerifyOptions) (*bundle.Report, error) {
	b, err := bundle.Open(path)
	if err != nil {
		return bundle.ReportOf(path, err)
	}
	return b.Verify(context.Background(), opts)
}

func expectEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Fatalf("something was written: %v, %v", left, err)
	}
}

// TestEveryByteOfTheDocument does the same to the document once its digest is known, from the
// caller or from a lock file.
func TestEveryByteOfTheDocument(t *testing.T) {
	ctx := context.Background()
	b := build(t, collect(t, tree{"a": "a"}.write(t, t.TempDir()), "a"), nil)
	m, err := b.Manifest(ctx)
	if err != nil {
		t.Fatal(err)
	}
	lock := bundle.NewLock(b.Digest, m)
	whole, err := os.ReadFile(b.DocumentPath)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x01
		if err := os.WriteFile(b.DocumentPath, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		for name, opts := range map[string]*bundle.VerifyOptions{"digest": {Digest: b.Digest}, "lock": {Lock: lock}} {
			if r, err := verifyPath(b.DocumentPath, opts); err != nil || r.OK {
				t.Errorf("byte %d (%q), %s: verify says %+v, %v", i, whole[i], name, r, err)
			}
		}
		if changed, err := bundle.Open(b.DocumentPath); err == nil {
			_, err := changed.Extract(ctx, t.TempDir(), &bundle.ExtractOptions{Digest: b.Digest})
			if bundle.KindOf(err) != bundle.KindTampered {
				t.Errorf("byte %d (%q): extract says %v", i, whole[i], err)
			}
		}
	}
}

func TestVerifyReports(t *testing.T) {
	src := tree{"a.txt": "a", "d/b.txt": "b", "d/c.txt": "c"}
	for _, test := range []struct {
		name   string
		change func(t *testing.T, dir string) // of the directory that was packed
		want   []string                       // kind and path
	}{
		{"nothing", func(t *testing.T, dir string) {}, nil},
		{"content", func(t *testing.T, dir string) { writeFile(t, dir+"/a.txt", "A", 0o644) }, []string{"content a.txt"}},
		{"size", func(t *testing.T, dir string) { writeFile(t, dir+"/a.txt", "aa", 0o644) }, []string{"size a.txt"}},
		{"mode", func(t *testing.T, dir string) { writeFile(t, dir+"/a.txt", "a", 0o755) }, []string{"mode a.txt"}},
		{"missing", func(t *testing.T, dir string) { os.Remove(dir + "/d/b.txt") }, []string{"missing d/b.txt"}},
		{"extra", func(t *testing.T, dir string) { writeFile(t, dir+"/d/new", "", 0o644) }, []string{"extra d/new"}},
		{"not selected", func(t *testing.T, dir string) { writeFile(t, dir+"/other", "", 0o644) }, nil},
		{"ignored", func(t *testing.T, dir string) { writeFile(t, dir+"/.prefectignore", "c.txt\n", 0o644) }, []string{"missing d/c.txt"}},
		{"a directory", func(t *testing.T, dir string) { os.Remove(dir + "/a.txt"); writeFile(t, dir+"/a.txt/x", "", 0o644) },
			[]string{"missing a.txt", "extra a.txt/x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := src.write(t, t.TempDir())
			b := build(t, collect(t, dir, "a.txt", "d/"), nil)
			test.change(t, dir)
			r, err := b.Verify(context.Background(), &bundle.VerifyOptions{Against: dir})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range r.Problems {
				got = append(got, string(p.Kind)+" "+p.Path)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s", diff)
			}
			if r.OK != (len(r.Problems) == 0) {
				t.Errorf("ok is %v with %d problems", r.OK, len(r.Problems))
			}
		})
	}
}

func TestVerifyMissingSidecar(t *testing.T) {
	b := build(t, collect(t, tree{"a": "a"}.write(t, t.TempDir()), "a"), nil)
	if err := os.Remove(b.ArchivePath); err != nil {
		t.Fatal(err)
	}
	r, err := b.Verify(context.Background(), nil)
	want := &bundle.Report{Problems: []bundle.Problem{{Kind: bundle.ProblemMissing, Path: b.Document.FilesKey, Detail: "the sidecar is not there"}}}
	if diff := cmp.Diff(want, r); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestLock(t *testing.T) {
	names := tree{"plain": "1", "with space": "2", "line\nbreak": "3", `quo"te`: "4", " led": "5", "trailed ": "6", "é": "7", "#x": "8"}
	c := collect(t, names.write(t, t.TempDir()), ".")
	b := build(t, c, nil)
	m := hash(t, c, nil)
	var text bytes.Buffer
	if err := bundle.NewLock(b.Digest, m).Write(&text); err != nil {
		t.Fatal(err)
	}
	lock, err := bundle.ReadLock(bytes.NewReader(text.Bytes()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text.Bytes())
	}
	if diff := cmp.Diff(&bundle.Lock{Document: b.Digest, Manifest: m}, lock); diff != "" {
		t.Errorf("read back (-written +read):\n%s", diff)
	}
	if r, err := b.Verify(context.Background(), &bundle.VerifyOptions{Lock: lock}); err != nil || !r.OK {
		t.Errorf("%+v, %v", r, err)
	}
	for i := range text.Len() {
		damaged := bytes.Clone(text.Bytes())
		if damaged[i] ^= 0x01; damaged[i] == ' ' || text.Bytes()[i] == '#' {
			continue
		}
		lock, err := bundle.ReadLock(bytes.NewReader(damaged))
		if err != nil {
			continue
		}
		if r, err := b.Verify(context.Background(), &bundle.VerifyOptions{Lock: lock}); err != nil || r.OK {
			t.Errorf("byte %d (%q) of the lock file is not looked at", i, text.Bytes()[i])
		}
	}
}

func TestReadLockErrors(t *testing.T) {
	sum := strings.Repeat("1", 64)
	for text, want := range map[string]string{
		"":                    `no line "files sha256:…"`,
		"nonsense\n":          `line 1: not "# flowship lock 1"`,
		"# flowship lock 1\n": `no line "files sha256:…"`,
		"# flowship lock 1\n0644 1 " + sum + " a\n":                              `line 2: "0644" comes before the line "files sha256:…"`,
		"# flowship lock 1\nfiles sha256:" + sum + "\n0644 x " + sum + " a\n":    `line 3: size "x" is not a number of bytes`,
		"# flowship lock 1\nfiles sha256:" + sum + "\n0644 1 " + sum + " \"a\n":  `line 3: name "a is not quoted as it should be`,
		"# flowship lock 1\nfiles sha256:" + sum + "\n0644 1 " + sum + " ../a\n": `line 3: "../a": path traversal`,
		"# flowship lock 1\nfiles sha256:" + sum + "\n0844 1 " + sum + " a\n":    `line 3: bundle: mode "0844" is not an octal number such as "0644"`,
		"# flowship lock 1\nfiles sha256:0\n":                                    `line 2: bundle: "sha256:0" is not a digest: want sha256: and 64 lower-case hexadecimal digits`,
	} {
		_, err := bundle.ReadLock(strings.NewReader(text))
		if err == nil || err.Error() != `"lock file": `+want {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
}

func TestDiff(t *testing.T) {
	dir := tree{"a": "a", "b": "b", "c": "c"}.write(t, t.TempDir())
	before := hash(t, collect(t, dir, "."), nil)
	os.Remove(dir + "/a")
	writeFile(t, dir+"/b", "B", 0o755)
	writeFile(t, dir+"/a-new", "", 0o644)
	after := hash(t, collect(t, dir, "."), nil)
	want := &bundle.Difference{
		Added:   []bundle.Entry{after.Entries[0]},
		Removed: []bundle.Entry{before.Entries[0]},
		Changed: []bundle.Change{{Path: "b", From: before.Entries[1], To: after.Entries[1]}},
	}
	if diff := cmp.Diff(want, bundle.Diff(before, after)); diff != "" {
		t.Error(diff)
	}
	if !bundle.Diff(after, after).Empty() {
		t.Error("a manifest differs from itself")
	}
}
