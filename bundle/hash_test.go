package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
)

// tree maps paths to contents.
type tree map[string]string

// write makes the tree below dir, every file with mode 0644, last touched long ago.
func (tr tree) write(t testing.TB, dir string) string {
	t.Helper()
	for name, content := range tr {
		writeFile(t, filepath.Join(dir, name), content, 0o644)
	}
	return dir
}

func writeFile(t testing.TB, path, content string, mode uint32) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func collect(t testing.TB, dir string, include ...string) *bundle.Collection {
	t.Helper()
	c, err := bundle.Collect(context.Background(), dir, include, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func hash(t testing.TB, c *bundle.Collection, cache *bundle.Cache) *bundle.Manifest {
	t.Helper()
	m, err := bundle.Hash(context.Background(), c, &bundle.HashOptions{Cache: cache})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestCanonicalDigest has the digests that Prefect's own zip builder computed.
func TestCanonicalDigest(t *testing.T) {
	type file struct {
		name, content string
		mode          uint32
	}
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, test := range []struct {
		name  string
		files []file
		want  string
	}{
		{"none", nil, "f9a9d3ce6cbd7125b36e0c0ce4d467739887dd1c169cffd6315d72af9164382f"},
		{"one", []file{{"config.yaml", "key: value", 0o644}}, "aff594f5fb84ab58e1e44217072f8495800f24dd38ac716b8b7191790d55a290"},
		{"executable", []file{{"config.yaml", "key: value", 0o755}}, "3e8cd1af2fb1635faf6204e44a02a013aea4bc8477c8ee7b3098a09ff8925c61"},
		{"two", []file{{"a.txt", "a content", 0o644}, {"z.txt", "z content", 0o644}}, "8f9ae8177084d8490f6a543565c7a8762cdcff01e86313325846f426e7933642"},
		{"directory", []file{{"config.yaml", "key: value", 0o644}, {"data/input.csv", "a,b\n1,2", 0o644}}, "9a55443e838601d5d2abcc6e58fc0a8755064688d8d506a037eccfede90ba77b"},
		{"order", []file{{"a/x", "1", 0o644}, {"a-b/x", "2", 0o644}, {"a.txt", "3", 0o644}, {"aa", "", 0o600}}, "4962b2a665d2cafb73b5955c7598e4eb69e86938db3f51a9e513fe863b84b69c"},
		{"unicode", []file{{"é.txt", "ü", 0o644}, {"\U0001F600", "x", 0o644}, {"\uFFEE", "y", 0o644}}, "b26e8d3d7e1ce5aa16de3f57b5b7046789a4ac0b694ca2104a5b0375a712a25e"},
		{"empty", []file{{"empty", "", 0o644}}, "01fbfc82c117fda5e7497591ee7913379bd56e9944962ecc28f13d6027a69ad4"},
		{"setuid", []file{{"big.bin", string(bytes.Repeat(every, 1024)), 0o4755}}, "60bba54f2c5ad866d55584443c484af42d1f1f1ef0b7883d02a9309663ac0c3c"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range test.files {
				writeFile(t, filepath.Join(dir, f.name), f.content, f.mode)
			}
			m := hash(t, collect(t, dir, "."), nil)
			if diff := cmp.Diff(test.want, m.Digest.Hex()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestHashSpansChunks hashes files around the sizes at which chunks begin and end, and compares
// with the archive's content.
func TestHashSpansChunks(t *testing.T) {
	dir := t.TempDir()
	for i, size := range []int{0, 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 2 << 20, 3<<20 + 17, 5} {
		writeFile(t, filepath.Join(dir, string(rune('a'+i))), noise(size), 0o644)
	}
	c := collect(t, dir, ".")
	m := hash(t, c, nil)
	b := build(t, c, nil)
	again, err := (&bundle.Bundle{ArchivePath: b.ArchivePath}).Manifest(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, again); diff != "" {
		t.Errorf("hashed and unpacked differ (-hashed +unpacked):\n%s", diff)
	}
}

// noise is text that deflates to about half.
func noise(size int) string {
	b := make([]byte, size)
	x := uint32(size) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = "abcdefghijklmnop"[x>>28]
	}
	return string(b)
}

// TestChangedWhileHashing changes the tree's last file once reading has begun.
func TestChangedWhileHashing(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(path string, round int) error
		want   string // of the error when it changes each time; "" when a retry must succeed
	}{
		{"grows once", once(appendByte), ""},
		{"grows", appendByte, "the file grew while it was packed"},
		{"shrinks once", once(truncate), ""},
		{"shrinks", truncate, "the file shrank while it was packed"},
		{"rewritten once", once(rewrite), ""},
		{"rewritten", rewrite, "the file changed while it was packed"},
		{"chmod", func(path string, round int) error { return chmod(path, uint32(0o600+round)) }, "the file changed while it was packed"},
		{"vanishes", func(path string, _ int) error { return os.Remove(path) }, "the file vanished while it was packed"},
		{"replaced by a link", func(path string, _ int) error {
			return errors.Join(os.Remove(path), os.Symlink("a", path))
		}, "is a symbolic link; only regular files can be packed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			const firstSize = 1<<20 - 1
			dir := tree{"a": noise(firstSize), "b": noise(16 << 20), "z": noise(100)}.write(t, t.TempDir())
			last := filepath.Join(dir, "z")
			round := 0
			progress := func() func(int64) {
				// The first chunk of an attempt is the file "a" alone.
				return func(n int64) {
					if n != firstSize {
						return
					}
					round++
					if err := test.change(last, round); err != nil && !os.IsNotExist(err) {
						t.Error(err)
					}
				}
			}
			for _, step := range []struct {
				name string
				run  func(c *bundle.Collection, progress func(int64)) (*bundle.Manifest, error)
			}{
				{"hash", func(c *bundle.Collection, p func(int64)) (*bundle.Manifest, error) {
					return bundle.Hash(context.Background(), c, &bundle.HashOptions{Progress: p})
				}},
				{"pack", func(c *bundle.Collection, p func(int64)) (*bundle.Manifest, error) {
					out := filepath.Join(t.TempDir(), "files.zip")
					packed, err := bundle.PackFile(context.Background(), c, out, &bundle.PackOptions{Progress: p})
					if err != nil {
						if left, _ := os.ReadDir(filepath.Dir(out)); len(left) != 0 {
							t.Errorf("a failed pack left %v", left)
						}
						return nil, err
					}
					return packed.Manifest, nil
				}},
			} {
				round = 0
				writeFile(t, last, noise(100), 0o644)
				got, err := step.run(collect(t, dir, "a", "b", "z"), progress())
				switch {
				case round == 0:
					t.Fatalf("%s: the file was never changed", step.name)
				case test.want == "" && err != nil:
					t.Errorf("%s: %v", step.name, err)
				case test.want == "":
					if diff := cmp.Diff(hash(t, collect(t, dir, "a", "b", "z"), nil), got); diff != "" {
						t.Errorf("%s: not what is there now (-now +got):\n%s", step.name, diff)
					}
				case err == nil:
					t.Errorf("%s: no error; want %q", step.name, test.want)
				default:
					if want := `"z": ` + test.want; err.Error() != want {
						t.Errorf("%s: error %q, want %q", step.name, err, want)
					}
				}
				os.Remove(last)
			}
		})
	}
}

func once(change func(string, int) error) func(string, int) error {
	return func(path string, round int) error {
		if round > 1 {
			return nil
		}
		return change(path, round)
	}
}

func appendByte(path string, _ int) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("!")
	return errors.Join(err, f.Close())
}

func truncate(path string, round int) error { return os.Truncate(path, int64(50-round)) }

// rewrite changes the content, keeps the size and sets the time stamp back.
func rewrite(path string, round int) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	text := bytes.Repeat([]byte{byte('0' + round)}, int(info.Size()))
	return errors.Join(os.WriteFile(path, text, 0o644), os.Chtimes(path, info.ModTime(), info.ModTime()))
}

func TestHashCancelled(t *testing.T) {
	c := collect(t, tree{"a": noise(8 << 20)}.write(t, t.TempDir()), "a")
	ctx, cancel := context.WithCancel(context.Background())
	_, err := bundle.Hash(ctx, c, &bundle.HashOptions{Progress: func(int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

// TestCacheNeverLies edits a file in every way that keeps its size, as fast as it can, and
// compares what the cache makes of it with the truth.
func TestCacheNeverLies(t *testing.T) {
	dir := tree{"a": "first", "b/c": noise(3 << 20), "d": "same"}.write(t, t.TempDir())
	cache := bundle.OpenCache(filepath.Join(t.TempDir(), "cache"))
	path := filepath.Join(dir, "a")
	for round := range 200 {
		if err := os.WriteFile(path, []byte{'f', 'i', 'r', 's', byte(round)}, 0o644); err != nil {
			t.Fatal(err)
		}
		if round%3 == 0 {
			old := time.Unix(1e9, 0)
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		}
		if round%5 == 0 { // another inode with the same name, size and time
			if err := errors.Join(os.WriteFile(path+"x", []byte{'o', 't', 'h', 'e', byte(round)}, 0o644), os.Rename(path+"x", path)); err != nil {
				t.Fatal(err)
			}
		}
		cached := hash(t, collect(t, dir, "."), cache)
		if diff := cmp.Diff(hash(t, collect(t, dir, "."), nil), cached); diff != "" {
			t.Fatalf("round %d: the cache lies (-truth +cached):\n%s", round, diff)
		}
	}
}

// TestCacheSavesReading expects an unchanged tree not to be read, and a damaged cache to be seen
// through.
func TestCacheSavesReading(t *testing.T) {
	dir := tree{"a": noise(4 << 20), "b": "b"}.write(t, t.TempDir())
	var want *bundle.Manifest
	cacheDir := filepath.Join(t.TempDir(), "cache")
	cache := bundle.OpenCache(cacheDir)
	// Change times cannot be set, so wait until they are old enough to be believed.
	for deadline := time.Now().Add(20 * time.Second); ; {
		want = hash(t, collect(t, dir, "."), cache)
		read := int64(0)
		c := collect(t, dir, ".")
		calls := 0
		got, err := bundle.Hash(context.Background(), c, &bundle.HashOptions{Cache: cache, Progress: func(n int64) { read += n; calls++ }})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		if calls == 1 && read == c.TotalSize() {
			break // one step over everything: nothing was read
		}
		if time.Now().After(deadline) {
			t.Fatal("an unchanged tree is still read after twenty seconds")
		}
	}
	damageEach(t, cacheDir, func(what string) {
		if diff := cmp.Diff(want, hash(t, collect(t, dir, "."), cache)); diff != "" {
			t.Fatalf("%s: the cache lies (-truth +cached):\n%s", what, diff)
		}
	})
}

// damageEach flips bytes of the only file in dir, one at a time, and truncates it.
func damageEach(t *testing.T, dir string, check func(what string)) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("cache directory: %v, %v", entries, err)
	}
	path := filepath.Join(dir, entries[0].Name())
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(whole); i += 7 {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x41
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		check("flipped byte")
		if err := os.WriteFile(path, whole[:i], 0o600); err != nil {
			t.Fatal(err)
		}
		check("truncated")
	}
}
