package oci_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
)

var (
	amd64 = oci.Platform{OS: "linux", Arch: "amd64"}
	arm64 = oci.Platform{OS: "linux", Arch: "arm64"}
)

// randomImage is an image for a platform, with an entry point.
func randomImage(t *testing.T, p oci.Platform, size int64, oci bool) v1.Image {
	t.Helper()
	img, err := random.Image(size, 2)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = p.OS, p.Arch
	cfg.Config.Entrypoint, cfg.Config.Env, cfg.Config.Labels = []string{"/base"}, []string{"A=b"}, map[string]string{"kept": "yes"}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	if oci {
		img = mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
	}
	return img
}

// randomIndex is an image for two platforms, with something that is no image.
func randomIndex(t *testing.T) v1.ImageIndex {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range []oci.Platform{amd64, arm64, {OS: "unknown", Arch: "unknown"}} {
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{
			Add:        randomImage(t, p, 10000, true),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: p.OS, Architecture: p.Arch}},
		})
	}
	return idx
}

// bases returns the same kinds of images in all places where a base may be.
func bases(t *testing.T) map[string]string {
	t.Helper()
	dir, s := t.TempDir(), newServer(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ref := tagOf(t, s.host+"/base/docker:1")
	must(remote.Write(ref, randomImage(t, amd64, 1000, false)))
	refIndex := tagOf(t, s.host+"/base/index:1")
	must(remote.WriteIndex(refIndex, randomIndex(t)))
	p, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	must(err)
	must(p.AppendImage(randomImage(t, amd64, 1000, true)))
	p, err = layout.Write(filepath.Join(dir, "index"), empty.Index)
	must(err)
	must(p.AppendIndex(randomIndex(t)))
	must(tarball.WriteToFile(filepath.Join(dir, "packed.tar"), ref, randomImage(t, amd64, 1000, false)))
	writePlainTar(t, filepath.Join(dir, "plain.tar"), randomImage(t, amd64, 1000, false))
	return map[string]string{
		"scratch": oci.Scratch, "registry": ref.Name(), "index in a registry": refIndex.Name(), "layout": filepath.Join(dir, "layout"),
		"index in a layout": filepath.Join(dir, "index"), "packed tar": filepath.Join(dir, "packed.tar"), "plain tar": filepath.Join(dir, "plain.tar"),
	}
}

// writePlainTar writes an image as Docker itself does: its layers are not compressed.
func writePlainTar(t testing.TB, file string, img v1.Image) {
	t.Helper()
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := tar.NewWriter(out)
	put := func(name string, content []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	put("config.json", config)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprintf("%d/layer.tar", i))
		put(names[i], content)
	}
	put("manifest.json", fmt.Appendf(nil, `[{"Config":"config.json","RepoTags":["base:1"],"Layers":["%s"]}]`, strings.Join(names, `","`)))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

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
func TestDamagedBase(t *testing.T) {
	all := bases(t)
	blobs := filepath.Join(all["layout"], "blobs", "sha256")
	entries, err := os.ReadDir(blobs)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		file := filepath.Join(blobs, e.Name())
		if text := read(t, file); strings.HasPrefix(text, "\x1f\x8b") {
			if err := os.WriteFile(file, []byte(text[:len(text)-1]+"x"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	img := built(t, &oci.BuildOptions{Base: all["layout"], Executor: finder(t)})
	dir := filepath.Join(t.TempDir(), "out")
	if err := img.WriteLayout(t.Context(), dir, "made:1"); bundle.KindOf(err) != bundle.KindTampered {
		t.Errorf("%v", err)
	}
	wantNothing(t, dir)
}

// Nor does one that a registry changed, or does not send to its end.
func TestDamagedBaseInARegistry(t *testing.T) {
	for name, test := range map[string]struct {
		fault func(w http.ResponseWriter, r *http.Request, next http.Handler)
		kind  bundle.Kind
		is    error
	}{
		"changed": {func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			record(w, r, next, func(p []byte) []byte { return append(p[:len(p)-1], p[len(p)-1]^1) })
		}, bundle.KindTampered, nil},
		"cut off": {cutOff, "", oci.ErrUnavailable},
		"refused": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusForbidden) }, "", oci.ErrUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			ref := tagOf(t, s.host+"/base/x:1")
			if err := remote.Write(ref, randomImage(t, amd64, 1<<20, true)); err != nil {
				t.Fatal(err)
			}
			img := built(t, &oci.BuildOptions{Base: ref.Name(), Executor: finder(t)})
			s.breaks(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
					test.fault(w, r, next)
					return
				}
				next.ServeHTTP(w, r)
			})
			dir := filepath.Join(t.TempDir(), "out")
			if err := img.WriteLayout(t.Context(), dir, "made:1"); bundle.KindOf(err) != test.kind || err == nil || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("layout: %v", err)
			}
			wantNothing(t, dir)
			if err := img.WriteTar(t.Context(), dir, "made:1"); bundle.KindOf(err) != test.kind || err == nil || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("tar: %v", err)
			}
			wantNothing(t, dir)
		})
	}
}

// A push that fails says why.
func TestImagePushFails(t *testing.T) {
	s := newServer(t)
	img := built(t, &oci.BuildOptions{Base: oci.Scratch, Executor: finder(t)})
	s.breaks(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"errors": [{"code": "DENIED", "message": "read only"}]}`)
			return
		}
		next.ServeHTTP(w, r)
	})
	err := img.Push(t.Context(), s.host+"/a:1", nil)
	if !errors.Is(err, oci.ErrUnauthorized) || !strings.Contains(err.Error(), "DENIED: read only") {
		t.Errorf("%v", err)
	}
	s.breaks(nil)
	if _, err := remote.Get(tagOf(t, s.host+"/a:1")); err == nil {
		t.Error("the tag is there")
	}
	var invalid *oci.InvalidError
	if err := img.Push(t.Context(), "UPPER:1", nil); !errors.As(err, &invalid) {
		t.Errorf("%v", err)
	}
}

func TestBuildFails(t *testing.T) {
	all, find := bases(t), finder(t)
	s := newServer(t)
	s.breaks(func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusForbidden) })
	_, broken := newBundle(t)
	sidecar := []byte(read(t, broken.ArchivePath))
	sidecar[40] ^= 1
	if err := os.WriteFile(broken.ArchivePath, sidecar, 0o644); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "text.tar")
	if err := os.WriteFile(text, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	var invalid *oci.InvalidError
	for name, test := range map[string]struct {
		opts oci.BuildOptions
		kind bundle.Kind
		is   error
		as   any
	}{
		"no such file":       {opts: oci.BuildOptions{Base: "./no.tar"}, kind: bundle.KindNotFound},
		"no tar":             {opts: oci.BuildOptions{Base: text}, kind: bundle.KindRefused},
		"no name":            {opts: oci.BuildOptions{Base: "UPPER case"}, as: &invalid},
		"no such image":      {opts: oci.BuildOptions{Base: strings.Replace(all["registry"], "docker:1", "docker:2", 1)}, is: oci.ErrNotFound},
		"not allowed":        {opts: oci.BuildOptions{Base: s.host + "/a/b"}, is: oci.ErrUnauthorized},
		"nobody there":       {opts: oci.BuildOptions{Base: "localhost:1/a/b"}, is: oci.ErrUnavailable},
		"no such platform":   {opts: oci.BuildOptions{Base: all["layout"], Platforms: []oci.Platform{arm64}}, kind: bundle.KindNotFound},
		"platform twice":     {opts: oci.BuildOptions{Base: oci.Scratch, Platforms: []oci.Platform{arm64, arm64}}, as: &invalid},
		"bundle is tampered": {opts: oci.BuildOptions{Base: oci.Scratch, Bundle: broken}, kind: bundle.KindTampered},
		"wrong program": {opts: oci.BuildOptions{Base: all["layout"], Executor: func(ctx context.Context, _ oci.Platform) (string, error) { return find(ctx, arm64) }},
			kind: bundle.KindRefused},
	} {
		t.Run(name, func(t *testing.T) {
			test.opts.Scratch = t.TempDir()
			if test.opts.Executor == nil {
				test.opts.Executor = find
			}
			_, err := oci.Build(t.Context(), &test.opts)
			switch {
			case err == nil, test.kind != bundle.KindOf(err), test.is != nil && !errors.Is(err, test.is), test.as != nil && !errors.As(err, test.as):
				t.Errorf("%v is of kind %q, want %q, %v", err, bundle.KindOf(err), test.kind, test.is)
			case strings.Contains(err.Error(), "\n"):
				t.Errorf("%q has several lines", err)
			}
			wantNothing(t, filepath.Join(test.opts.Scratch, "x"))
		})
	}
}

// BenchmarkLayout writes an image on a base of 100 MB, which is a layout or a tar, to a layout.
func BenchmarkLayout(b *testing.B) {
	dir := b.TempDir()
	content := make([]byte, 100<<20)
	r := rand.NewChaCha8([32]byte{})
	for i := 0; i < len(content); i += 8192 { // about as compressible as programs are
		r.Read(content[i : i+3072])
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		pr, pw := io.Pipe()
		go func() {
			w := tar.NewWriter(pw)
			w.WriteHeader(&tar.Header{Name: "big", Mode: 0o644, Size: int64(len(content))})
			w.Write(content)
			pw.CloseWithError(w.Close())
		}()
		return pr, nil
	})
	if err != nil {
		b.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		b.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		b.Fatal(err)
	}
	cfg.OS, cfg.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		b.Fatal(err)
	}
	ref := tagOf(b, "base:1")
	p, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		b.Fatal(err)
	}
	if err := p.AppendImage(img); err != nil {
		b.Fatal(err)
	}
	if err := tarball.WriteToFile(filepath.Join(dir, "packed.tar"), ref, img); err != nil {
		b.Fatal(err)
	}
	writePlainTar(b, filepath.Join(dir, "plain.tar"), img)
	executor := filepath.Join(dir, "executor")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", executor, "../../cmd/flowship-executor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if said, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, said)
	}
	for _, base := range []string{"layout", "packed.tar", "plain.tar"} {
		b.Run(base, func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				img, err := oci.Build(b.Context(), &oci.BuildOptions{Base: filepath.Join(dir, base), Executor: func(context.Context, oci.Platform) (string, error) { return executor, nil }})
				if err != nil {
					b.Fatal(err)
				}
				to := filepath.Join(dir, fmt.Sprintf("out-%s-%d", base, n))
				if err := img.WriteLayout(b.Context(), to, "made:1"); err != nil {
					b.Fatal(err)
				}
				img.Close()
				b.StopTimer()
				os.RemoveAll(to)
				b.StartTimer()
			}
		})
	}
}
