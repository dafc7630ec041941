package oci_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
)

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
