package oci_test

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/flowship/flowship/bundle/oci"
)

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
