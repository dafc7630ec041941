package bundle_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
)

func TestExtract(t *testing.T) {
	ctx := context.Background()
	src := t.TempDir()
	sample.write(t, src)
	writeFile(t, src+"/run.sh", "#!/bin/sh\n", 0o755)
	writeFile(t, src+"/secret", "s", 0o600)
	writeFile(t, src+"/setuid", "s", 0o4711)
	writeFile(t, src+"/readonly", "s", 0o444)
	b := build(t, collect(t, src, "."), nil)
	defer umask(umask(0o077))
	for name, ref := range map[string]*bundle.Bundle{"bundle": b, "sidecar alone": {ArchivePath: b.ArchivePath}} {
		fresh := filepath.Join(t.TempDir(), "not", "there", "yet")
		existing := t.TempDir()
		for _, to := range []string{fresh, existing} {
			m, err := ref.Extract(ctx, to, nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(readTree(t, src), readTree(t, to)); diff != "" {
				t.Errorf("%s: extracted differs (-packed +extracted):\n%s", name, diff)
			}
			if diff := cmp.Diff(hash(t, collect(t, src, "."), nil), hash(t, collect(t, to, "."), nil)); diff != "" {
				t.Errorf("%s: modes or contents differ (-packed +extracted):\n%s", name, diff)
			}
			if diff := cmp.Diff(hash(t, collect(t, src, "."), nil), m); diff != "" {
				t.Errorf("%s: reported (-packed +reported):\n%s", name, diff)
			}
		}
	}
}

func TestExtractOver(t *testing.T) {
	b := build(t, collect(t, tree{"a/b": "new", "c": "new"}.write(t, t.TempDir()), "."), nil)
	outside := t.TempDir()
	for _, test := range []struct {
		name   string
		before func(to string)
		want   string // the error; "" for success
		warns  []string
	}{
		{"unrelated files", func(to string) { writeFile(t, to+"/other", "kept", 0o644) }, "", nil},
		{"an existing file", func(to string) { writeFile(t, to+"/c", "old", 0o400) }, "", []string{"Overwriting existing file: c"}},
		{"a link inside", func(to string) { os.Mkdir(to+"/real", 0o755); os.Symlink("real", to+"/a") }, "", nil},
		{"a directory for a file", func(to string) { os.Mkdir(to+"/c", 0o755) }, `"c": exists as a directory`, nil},
		{"a file for a directory", func(to string) { writeFile(t, to+"/a", "old", 0o644) }, `"a/b": "a" exists as a file`, nil},
		{"a link outside", func(to string) { os.Symlink(outside, to+"/a") }, `"a/b": "a" leads out of the directory: path escapes from parent`, nil},
		{"a link to nowhere", func(to string) { os.Symlink("nowhere", to+"/a") }, `"a/b": "a" is a link that leads nowhere`, nil},
		{"a file link outside", func(to string) { os.Symlink(outside+"/x", to+"/c") }, `"c": "c" leads out of the directory: path escapes from parent`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			to := t.TempDir()
			test.before(to)
			before := readTree(t, to)
			var warns []string
			_, err := b.Extract(context.Background(), to, &bundle.ExtractOptions{Warn: func(s string) { warns = append(warns, s) }})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.warns, warns); diff != "" {
				t.Error(diff)
			}
			after := readTree(t, to)
			if err == nil {
				before["c"], before["a/b"] = "new", "new"
				if after["real/b"] == "new" { // by way of the link
					delete(before, "a/b")
					before["real/b"] = "new"
				}
				if _, err := os.Stat(to + "/a/b"); err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the directory (-want +got):\n%s", diff)
			}
			expectEmpty(t, outside)
		})
	}
}

// TestExtractTakesBack has something get in the way after everything was checked.
func TestExtractTakesBack(t *testing.T) {
	b := build(t, collect(t, tree{"a": "new", "d/e": "new", "n": "new", "z": "new"}.write(t, t.TempDir()), "."), nil)
	to := tree{"a": "old", "d/other": "kept", "d/e": "old"}.write(t, t.TempDir())
	before := readTree(t, to)
	warn := func(string) {
		if err := os.MkdirAll(to+"/z/in the way", 0o755); err != nil {
			t.Error(err)
		}
	}
	_, err := b.Extract(context.Background(), to, &bundle.ExtractOptions{Warn: warn})
	if bundle.KindOf(err) == "" {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(before, readTree(t, to)); diff != "" {
		t.Errorf("the directory (-before +after):\n%s", diff)
	}
	if left, _ := filepath.Glob(to + "/.flowship-*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// hostile makes an archive of the headers, each with the content "x" unless it says otherwise.
func hostile(t testing.TB, headers ...*zip.FileHeader) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, h := range headers {
		var packed bytes.Buffer
		f, _ := flate.NewWriter(&packed, 1)
		f.Write([]byte("x"))
		f.Close()
		h.CRC32 = crc32.ChecksumIEEE([]byte("x"))
		h.CompressedSize64 = uint64(packed.Len())
		if h.UncompressedSize64 == 0 {
			h.UncompressedSize64 = 1
		}
		if h.Method == 0 {
			h.Method = zip.Deflate
		}
		e, err := w.CreateRaw(h)
		if err != nil {
			t.Fatal(err)
		}
		e.Write(packed.Bytes())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func named(names ...string) []*zip.FileHeader {
	var headers []*zip.FileHeader
	for _, n := range names {
		headers = append(headers, &zip.FileHeader{Name: n})
	}
	return headers
}

func TestExtractRefuses(t *testing.T) {
	link := &zip.FileHeader{Name: "l", ExternalAttrs: 0o120777 << 16}
	device := &zip.FileHeader{Name: "d", ExternalAttrs: 0o020666 << 16}
	setMethod := &zip.FileHeader{Name: "m", Method: 12}
	encrypted := &zip.FileHeader{Name: "e", Flags: 1}
	bomb := &zip.FileHeader{Name: "b", UncompressedSize64: 1 << 40}
	shortBomb := &zip.FileHeader{Name: "b", UncompressedSize64: 900}
	for name, test := range map[string]struct {
		headers []*zip.FileHeader
		want    string
	}{
		"absolute":            {named("ok", "/etc/passwd"), `"/etc/passwd": absolute path`},
		"parent":              {named("../x"), `"../x": path traversal`},
		"parent inside":       {named("a/../x"), `"a/../x": path traversal`},
		"dot":                 {named("a/./x"), `"a/./x": the name has a component "."`},
		"doubled slash":       {named("a//x"), `"a//x": the name has a component ""`},
		"null":                {named("a\x00b"), `"a\x00b": the name holds a null byte`},
		"not utf-8":           {named("a\xff"), `"a\xff": the name is not UTF-8`},
		"twice":               {named("a", "b", "a"), `"a": stands twice in the archive`},
		"file and directory":  {named("a", "a/b"), `"a": is a file and a directory in the archive`},
		"directory and file":  {named("a/b/c", "a"), `"a": is a file and a directory in the archive`},
		"link":                {[]*zip.FileHeader{link}, `"l": is no regular file`},
		"device":              {[]*zip.FileHeader{device}, `"d": is no regular file`},
		"method":              {[]*zip.FileHeader{setMethod}, `"m": uses compression method 12; only deflate and store are read`},
		"encrypted":           {[]*zip.FileHeader{encrypted}, `"e": is encrypted`},
		"bomb":                {[]*zip.FileHeader{bomb}, `"b": claims to hold 1099511627776 bytes in 11`},
		"less than it claims": {[]*zip.FileHeader{shortBomb}, `entry "b": unexpected EOF`},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.zip")
			if err := os.WriteFile(path, hostile(t, test.headers...), 0o644); err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(t.TempDir(), "to")
			_, err := (&bundle.Bundle{ArchivePath: path}).Extract(context.Background(), to, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
			expectEmpty(t, filepath.Dir(to))
		})
	}
}

// TestExtractRefusesOverlap has two entries share their data, as the densest zip bombs do.
func TestExtractRefusesOverlap(t *testing.T) {
	whole := hostile(t, named("a", "b")...)
	// Point the second entry of the central directory at the first one's data, under its name.
	central := bytes.LastIndex(whole, []byte("PK\x01\x02"))
	copy(whole[central+42:], []byte{0, 0, 0, 0})
	path := filepath.Join(t.TempDir(), "x.zip")
	if err := os.WriteFile(path, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := (&bundle.Bundle{ArchivePath: path}).Extract(context.Background(), t.TempDir(), nil)
	if bundle.KindOf(err) != bundle.KindRefused || !strings.Contains(err.Error(), "its local header and the directory disagree") {
		t.Errorf("error %v", err)
	}
}

// FuzzArchive lets verify and extract loose on any bytes: no panic, and nothing outside.
func FuzzArchive(f *testing.F) {
	f.Add(hostile(f, named("a", "d/b")...))
	f.Add(hostile(f, named("../a")...))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.zip")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		b := &bundle.Bundle{ArchivePath: path}
		r, err := b.Verify(context.Background(), nil)
		_, xerr := b.Extract(context.Background(), filepath.Join(dir, "to"), nil)
		if err == nil && r.OK && xerr != nil {
			t.Errorf("verifies, but does not extract: %v", xerr)
		}
		left, _ := os.ReadDir(dir)
		for _, e := range left {
			if e.Name() != "x.zip" && (e.Name() != "to" || xerr != nil) {
				t.Errorf("left %s behind, error %v", e.Name(), xerr)
			}
		}
	})
}
