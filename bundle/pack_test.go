package bundle_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/cmd/testbed/started"
)

// build makes a bundle of the collection that runs "true".
func build(t testing.TB, c *bundle.Collection, parameters json.RawMessage) *bundle.Bundle {
	t.Helper()
	dir := t.TempDir()
	inv := bundle.Invocation{Runtime: bundle.RuntimeExec, Command: []string{"true"}, Parameters: parameters}
	built, err := bundle.Build(context.Background(), c, inv, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if b.Digest != built.Digest {
		t.Errorf("document read back as %s, was %s", b.Digest, built.Digest)
	}
	return b
}

var sample = tree{
	"config.yaml":    "key: value\n",
	"data/input.csv": "a,b\n1,2\n",
	"data/empty":     "",
	"data/é ü.txt":   "text",
	"big":            noise(3<<20 + 5),
}

// TestPackIsReproducible packs the same files with other times, another time zone, fewer
// processors and another order of creation.
func TestPackIsReproducible(t *testing.T) {
	archive := func(dir string) (string, *bundle.Packed) {
		var zip bytes.Buffer
		packed, err := bundle.Pack(context.Background(), collect(t, dir, "."), &zip, nil)
		if err != nil {
			t.Fatal(err)
		}
		sum := fmt.Sprintf("%x", sha256.Sum256(zip.Bytes()))
		if diff := gocmp.Diff(&bundle.Archive{SHA256: packed.Archive.SHA256, Size: int64(zip.Len())}, packed.Archive); diff != "" || packed.Archive.SHA256.Hex() != sum {
			t.Errorf("the archive is %s, described as %s %s", sum, packed.Archive.SHA256, diff)
		}
		return sum, packed
	}
	first, packed := archive(sample.write(t, t.TempDir()))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer func(l *time.Location) { time.Local = l }(time.Local)
	time.Local = time.FixedZone("elsewhere", 14*3600)
	other := t.TempDir()
	sample.write(t, other)
	for name := range sample {
		old := time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)
		if err := os.Chtimes(filepath.Join(other, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	second, again := archive(other)
	if first != second {
		t.Errorf("the same files made two archives, %s and %s", first, second)
	}
	if diff := gocmp.Diff(packed, again); diff != "" {
		t.Error(diff)
	}
	// Recorded, so that an update of the deflate library cannot change the bytes unseen.
	const want = "dee9690523cac87faf2759d2726271756001ce6bd2b1b337d311d5f43a40a60f"
	if first != want {
		t.Errorf("the archive is %s, was %s", first, want)
	}
}

// TestOthersReadArchives has Python's zipfile and Info-ZIP read what Pack wrote.
func TestOthersReadArchives(t *testing.T) {
	b := build(t, collect(t, sample.write(t, t.TempDir()), "."), nil)
	const script = `
import sys, zipfile, hashlib, json
z = zipfile.ZipFile(sys.argv[1])
assert z.testzip() is None
print(json.dumps({i.filename: [oct(i.external_attr >> 16), hashlib.sha256(z.read(i)).hexdigest(), i.date_time[0], i.create_system] for i in z.infolist()}))
`
	got := make(map[string][]any)
	if err := json.Unmarshal([]byte(tool(t, python(), "-c", script, b.ArchivePath)), &got); err != nil {
		t.Fatal(err)
	}
	want := make(map[string][]any)
	for name, content := range sample {
		want[name] = []any{"0o100644", fmt.Sprintf("%x", sha256.Sum256([]byte(content))), 1980.0, 3.0}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("python reads (-want +got):\n%s", diff)
	}
	out := t.TempDir()
	tool(t, "unzip", "-qq", b.ArchivePath, "-d", out)
	if diff := gocmp.Diff(sample, readTree(t, out)); diff != "" {
		t.Errorf("Info-ZIP extracts (-want +got):\n%s", diff)
	}
}

// tool runs a program that the tests need and returns its output.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(started.Program(t, name), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func readTree(t testing.TB, dir string) tree {
	t.Helper()
	tr := tree{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if d.Type() == os.ModeSymlink {
			target, err := os.Readlink(path)
			tr[filepath.ToSlash(rel)] = "-> " + target
			return err
		}
		content, err := os.ReadFile(path)
		tr[filepath.ToSlash(rel)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// TestBuildIsReproducible expects the same document from the same invocation, so that its digest
// can be committed.
func TestBuildIsReproducible(t *testing.T) {
	dir := sample.write(t, t.TempDir())
	one := build(t, collect(t, dir, "data/"), json.RawMessage(`{"n":1}`))
	two := build(t, collect(t, dir, "data/"), json.RawMessage(`{"n":1}`))
	other := build(t, collect(t, dir, "data/"), json.RawMessage(`{"n":2}`))
	if one.Digest != two.Digest {
		t.Errorf("two documents of one invocation: %s and %s", one.Digest, two.Digest)
	}
	if one.Digest == other.Digest || one.Document.FlowRunID() == other.Document.FlowRunID() {
		t.Error("other parameters made the same document")
	}
}

// TestKilledWhilePacking kills a process that builds a bundle over and over, at many points, and
// looks at what stands under final names.
func TestKilledWhilePacking(t *testing.T) {
	dir := tree{"a": noise(2 << 20), "b": "b"}.write(t, t.TempDir())
	out := t.TempDir()
	seen := 0
	for i := range 25 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), "FLOWSHIP_TEST_BUILD="+dir+"\n"+out)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(20+5*i)*time.Millisecond, func() { cmd.Process.Kill() })
		cmd.Wait()
		timer.Stop()
		for name := range readTree(t, out) {
			if strings.HasPrefix(filepath.Base(name), ".flowship-") {
				continue
			}
			seen++
			r, err := verifyPath(filepath.Join(out, name), nil)
			if err != nil || !r.OK {
				t.Fatalf("killed after %d ms: %s: %+v, %v", 20+5*i, name, r, err)
			}
		}
	}
	if seen == 0 {
		t.Error("no build got as far as a final name: the test tested nothing")
	}
}

func TestMain(m *testing.M) {
	if dirs := os.Getenv("FLOWSHIP_TEST_BUILD"); dirs != "" {
		dir, out, _ := strings.Cut(dirs, "\n")
		for i := 0; ; i++ {
			c, err := bundle.Collect(context.Background(), dir, []string{"."}, nil)
			if err == nil {
				_, err = bundle.Build(context.Background(), c, bundle.Invocation{Runtime: bundle.RuntimeExec, Command: []string{fmt.Sprint(i)}}, out, nil)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
	os.Exit(m.Run())
}

// TestReadOthersArchives verifies and extracts archives that Python wrote, in every way that it
// can: through a seekable file and a pipe, with zip64's fields and without.
func TestReadOthersArchives(t *testing.T) {
	const script = `
import io, sys, zipfile
class Pipe(io.RawIOBase):
    def __init__(self, f): self.f = f
    def writable(self): return True
    def write(self, b): return self.f.write(b)
    def flush(self): self.f.flush()
for name, seekable, method, big in [("plain", 1, 8, 0), ("stored", 1, 0, 0), ("zip64", 1, 8, 1), ("piped", 0, 8, 0), ("piped64", 0, 8, 1)]:
    with open(sys.argv[1] + "/" + name + ".zip", "wb") as f:
        with zipfile.ZipFile(f if seekable else Pipe(f), "w", method) as z:
            for path in ["a", "d/é", "e"]:
                info = zipfile.ZipInfo(path, (2026, 1, 2, 3, 4, 6))
                info.compress_type, info.external_attr = method, 0o100644 << 16
                with z.open(info, "w", force_zip64=bool(big)) as e:
                    e.write(path.encode() * 100)
`
	dir := t.TempDir()
	tool(t, python(), "-c", script, dir)
	want := tree{}
	for _, path := range []string{"a", "d/é", "e"} {
		want[path] = strings.Repeat(path, 100)
	}
	archives, _ := filepath.Glob(dir + "/*.zip")
	if len(archives) != 5 {
		t.Fatalf("python wrote %v", archives)
	}
	for _, path := range archives {
		b := &bundle.Bundle{ArchivePath: path}
		if r, err := b.Verify(context.Background(), nil); err != nil || !r.OK {
			t.Errorf("%s: %+v, %v", path, r, err)
		}
		to := t.TempDir()
		if _, err := b.Extract(context.Background(), to, nil); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if diff := gocmp.Diff(want, readTree(t, to)); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		// Bytes that no table of contents speaks of are not to be believed.
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, damaged := range map[string][]byte{
			"in front": append([]byte("#!/bin/sh\n"), whole...),
			"renamed":  bytes.Replace(whole, []byte("\x00\x00a"), []byte("\x00\x00b"), 1),
			"method":   append(append(bytes.Clone(whole[:8]), whole[8]^8), whole[9:]...),
		} {
			if err := os.WriteFile(path, damaged, 0o644); err != nil {
				t.Fatal(err)
			}
			if r, err := b.Verify(context.Background(), nil); err != nil || r.OK {
				t.Errorf("%s, bytes %s: %+v, %v", path, name, r, err)
			}
		}
	}
}

func python() string { return cmp.Or(os.Getenv("FLOWSHIP_TEST_PYTHON"), "python3") }
