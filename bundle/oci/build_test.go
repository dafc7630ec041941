package oci_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
)

var (
	amd64 = oci.Platform{OS: "linux", Arch: "amd64"}
	arm64 = oci.Platform{OS: "linux", Arch: "arm64"}
)

// randomImage is an image for a platform, with an entry point.

// randomIndex is an image for two platforms, with something that is no image.

// bases returns the same kinds of images in all places where a base may be.

// writePlainTar writes an image as Docker itself does: its layers are not compressed.

func built(t *testing.T, opts *oci.BuildOptions) *oci.Image {
	t.Helper()
	img, err := oci.Build(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

// laid is the image as a layout, read back.

func laid(t *testing.T, img *oci.Image) v1.ImageIndex {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "out")
	if err := img.WriteLayout(t.Context(), dir, "made:1"); err != nil {
		t.Fatal(err)
	}
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	return idx
}

// TestBuild builds on every kind of base, twice, and has another program look at what comes out.

func TestBuild(t *testing.T) {
	find := finder(t)
	_, b := newBundle(t)
	for name, base := range bases(t) {
		t.Run(name, func(t *testing.T) {
			opts := &oci.BuildOptions{Base: base, Platforms: []oci.Platform{amd64}, Executor: find}
			img := built(t, opts)
			if again := built(t, opts); again.Digest() != img.Digest() {
				t.Errorf("built again it is %s, not %s", again.Digest(), img.Digest())
			}
			one := onlyImage(t, laid(t, img))
			if d, err := one.Digest(); err != nil || d.String() != img.Digest() {
				t.Errorf("the layout holds %s, %v, not %s", d, err, img.Digest())
			}
			if err := validate.Image(one); err != nil {
				t.Error(err)
			}
			cfg := config(t, one)
			if base != oci.Scratch {
				if diff := cmp.Diff([]string{"/base"}, cfg.Config.Entrypoint); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff([]string{"A=b"}, cfg.Config.Env); diff != "" {
					t.Error(diff)
				}
			}
			layers, err := one.Layers()
			if err != nil {
				t.Fatal(err)
			}
			executor, err := find(t.Context(), amd64)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]file{
				"usr/": {0o755, true, ""}, "usr/local/": {0o755, true, ""}, "usr/local/bin/": {0o755, true, ""},
				"usr/local/bin/flowship": {0o755, false, read(t, executor)},
			}
			if base == oci.Scratch {
				want["tmp/"] = file{0o1777, true, ""}
			}
			if diff := cmp.Diff(want, untar(t, layers[len(layers)-1])); diff != "" {
				t.Error(diff)
			}

			opts.Bundle = b
			with := onlyImage(t, laid(t, built(t, opts)))
			if err := validate.Image(with); err != nil {
				t.Error(err)
			}
			wantBundle(t, with, b, base != oci.Scratch)
		})
	}
}

func onlyImage(t *testing.T, idx v1.ImageIndex) v1.Image {
	t.Helper()
	m, err := idx.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	img, err := idx.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func config(t *testing.T, img v1.Image) *v1.ConfigFile {
	t.Helper()
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Created.Unix() != 0 {
		t.Errorf("created %v", cfg.Created)
	}
	return cfg
}

// wantBundle asserts that the image runs the bundle, whole.

func wantBundle(t *testing.T, img v1.Image, b *bundle.Bundle, based bool) {
	t.Helper()
	cfg := config(t, img)
	argv := []string{"/usr/local/bin/flowship", "step", "execute", "--url", "file:///flowship/store", "--key", "bundle.json", "--digest", b.Digest.String()}
	if diff := cmp.Diff(argv, cfg.Config.Entrypoint); diff != "" {
		t.Error(diff)
	}
	labels := map[string]string{"dev.flowship.bundle.digest": b.Digest.String(), "dev.flowship.bundle.key": "bundle.json", "dev.flowship.bundle.runtime": "exec"}
	if based {
		labels["kept"] = "yes"
	}
	if diff := cmp.Diff(labels, cfg.Config.Labels); diff != "" {
		t.Error(diff)
	}
	if len(cfg.Config.Cmd) > 0 || cfg.Config.WorkingDir != "/flowship/work" {
		t.Errorf("cmd %q in %q", cfg.Config.Cmd, cfg.Config.WorkingDir)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]file{
		"flowship/": {0o755, true, ""}, "flowship/store/": {0o755, true, ""}, "flowship/store/files/": {0o755, true, ""},
		"flowship/store/results/": {0o1777, true, ""}, "flowship/work/": {0o1777, true, ""},
		"flowship/store/bundle.json":            {0o644, false, read(t, b.DocumentPath)},
		"flowship/store/" + b.Document.FilesKey: {0o644, false, read(t, b.ArchivePath)},
	}
	if diff := cmp.Diff(want, untar(t, layers[len(layers)-1])); diff != "" {
		t.Error(diff)
	}
}

func TestSeveralPlatforms(t *testing.T) {
	all := bases(t)
	for _, name := range []string{"scratch", "index in a registry", "index in a layout"} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			img := built(t, &oci.BuildOptions{Base: all[name], Platforms: []oci.Platform{arm64, amd64}, Executor: finder(t)})
			if diff := cmp.Diff([]oci.Platform{arm64, amd64}, img.Platforms()); diff != "" {
				t.Error(diff)
			}
			var sent int64
			if err := img.Push(t.Context(), s.host+"/acme/train:1", &oci.RegistryOptions{Progress: func(n int64) { sent += n }}); err != nil {
				t.Fatal(err)
			}
			if sent != img.Size() {
				t.Errorf("the progress is %d of %d bytes", sent, img.Size())
			}
			ref := tagOf(t, s.host+"/acme/train:1")
			idx, err := remote.Index(ref)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Index(idx); err != nil {
				t.Error(err)
			}
			if d, err := idx.Digest(); err != nil || d.String() != img.Digest() {
				t.Errorf("pushed %s, %v; built %s", d, err, img.Digest())
			}
			layered := laid(t, img)
			if err := validate.Index(layered); err != nil {
				t.Error(err)
			}

			// What was written goes to a registry as it is.
			dir := filepath.Join(t.TempDir(), "out")
			if err := img.WriteLayout(t.Context(), dir, "x:1"); err != nil {
				t.Fatal(err)
			}
			opened, err := oci.Open(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Close()
			if opened.Digest() != img.Digest() || opened.Size() != img.Size() {
				t.Errorf("opened: %s, %d bytes; built %s, %d bytes", opened.Digest(), opened.Size(), img.Digest(), img.Size())
			}
			var invalid *oci.InvalidError
			if err := img.WriteTar(t.Context(), filepath.Join(t.TempDir(), "out.tar"), "x:1"); !errors.As(err, &invalid) {
				t.Errorf("a tar of two platforms: %v", err)
			}
		})
	}
}

// What a registry has is not read from it to be sent back.

func TestPushReadsNoLayers(t *testing.T) {
	s := newServer(t)
	ref := tagOf(t, s.host+"/base/x:1")
	if err := remote.Write(ref, randomImage(t, amd64, 1<<20, true)); err != nil {
		t.Fatal(err)
	}
	s.requests("", "")
	img := built(t, &oci.BuildOptions{Base: ref.Name(), Executor: finder(t)})
	if err := img.Push(t.Context(), s.host+"/acme/x:1", nil); err != nil {
		t.Fatal(err)
	}
	if got := s.requests("GET", "/blobs/"); len(got) != 1 { // the config
		t.Errorf("read: %q", got)
	}
	pushed, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(pushed); err != nil {
		t.Error(err)
	}
}

func TestTarAndLinks(t *testing.T) {
	all := bases(t)
	img := built(t, &oci.BuildOptions{Base: all["layout"], Executor: finder(t)})
	dir := t.TempDir()
	out := filepath.Join(dir, "out.tar")
	if err := img.WriteTar(t.Context(), out, "made:1"); err != nil {
		t.Fatal(err)
	}
	first := read(t, out)
	if err := img.WriteTar(t.Context(), out, "made:1"); err != nil {
		t.Fatal(err)
	}
	if read(t, out) != first {
		t.Error("written again, the tar has other bytes")
	}
	ref := tagOf(t, "made:1")
	one, err := tarball.ImageFromPath(out, &ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(one); err != nil {
		t.Error(err)
	}
	to := filepath.Join(dir, "layout")
	if err := img.WriteLayout(t.Context(), to, "made:1"); err != nil {
		t.Fatal(err)
	}
	linked := 0
	blobs, err := os.ReadDir(filepath.Join(all["layout"], "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range blobs {
		a, err := os.Stat(filepath.Join(all["layout"], "blobs", "sha256", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.Stat(filepath.Join(to, "blobs", "sha256", e.Name())); err == nil && os.SameFile(a, b) {
			linked++
		}
	}
	if linked != 2 {
		t.Errorf("%d layers are linked, want 2", linked)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// A layer that is not what its name says comes into no layout.

// Nor does one that a registry changed, or does not send to its end.

// A push that fails says why.

// BenchmarkLayout writes an image on a base of 100 MB, which is a layout or a tar, to a layout.

// Layers are compressed by all processors; how many there are makes no difference to the bytes.
func TestProcessorsMakeNoDifference(t *testing.T) {
	program, err := finder(t)(t.Context(), amd64)
	if err != nil {
		t.Fatal(err)
	}
	executor := filepath.Join(t.TempDir(), "executor")
	content := make([]byte, 5<<20+1)
	r := rand.NewChaCha8([32]byte{})
	for i := 0; i < len(content); i += 4096 {
		r.Read(content[i:min(i+1500, len(content))])
	}
	if err := os.WriteFile(executor, slices.Concat([]byte(read(t, program)), content), 0o755); err != nil {
		t.Fatal(err)
	}
	digests := map[string]bool{}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, n := range []int{1, 2, 4} {
		runtime.GOMAXPROCS(n)
		img := built(t, &oci.BuildOptions{Base: oci.Scratch, Platforms: []oci.Platform{amd64}, Executor: func(context.Context, oci.Platform) (string, error) { return executor, nil }})
		digests[img.Digest()] = true
	}
	if len(digests) != 1 {
		t.Errorf("digests %v", digests)
	}
}
