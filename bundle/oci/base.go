package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/flowship/flowship/bundle"
)

// Scratch is the base that holds nothing.
const Scratch = "scratch"

// part is an image for one platform.
type part struct {
	platform Platform
	image    v1.Image
}

// source is where images come from.
type source struct {
	name string
	// parts are in the order in which the source has them; their images are opened by open.
	platforms []Platform
	open      []func() (v1.Image, error)
	index     types.MediaType // of the index that lists them; "" where there is none
	top       v1.ImageIndex   // that index, if a layout holds nothing else
	blobs     string          // directory of the layers, for a layout
}

// openSource finds what a base names: what is on the disk, else an image in a registry.
func openSource(ctx context.Context, base, scratch string, reg *RegistryOptions) (*source, error) {
	s, err := openLocal(ctx, base, scratch)
	if s != nil || err != nil {
		return s, err
	}
	ref, err := name.ParseReference(base)
	if err != nil {
		return nil, &InvalidError{"image", withoutUser(base), "neither a file, nor a directory with an OCI layout, nor the name of an image in a registry"}
	}
	s = &source{name: base}
	d, err := get(ctx, ref, reg)
	if err != nil {
		return nil, fmt.Errorf("get image %q: %w", base, err)
	}
	switch {
	case d.MediaType.IsIndex():
		idx, err := d.ImageIndex()
		if err != nil {
			return nil, fmt.Errorf("get image %q: %w", base, explain(err))
		}
		s.index = d.MediaType
		return s, s.list(idx)
	case d.MediaType.IsImage():
		img, err := d.Image()
		if err != nil {
			return nil, fmt.Errorf("get image %q: %w", base, explain(err))
		}
		return s, s.add(img)
	}
	return nil, &InvalidError{"image", base, fmt.Sprintf("its media type is %q", d.MediaType)}
}

// openLocal opens a layout or a file of "docker save"; nil if the path is neither.
func openLocal(ctx context.Context, path, scratch string) (*source, error) {
	info, err := os.Stat(path)
	if err != nil {
		if filepath.IsAbs(path) || strings.HasPrefix(path, ".") || filepath.Ext(path) == ".tar" {
			return nil, &bundle.Error{Kind: bundle.KindNotFound, Path: path, Err: err}
		}
		return nil, nil
	}
	s := &source{name: path}
	if !info.IsDir() {
		img, err := openTar(ctx, path, scratch)
		if err != nil {
			return nil, fmt.Errorf("read image %q: %w", path, err)
		}
		return s, s.add(img)
	}
	if _, err := os.Stat(filepath.Join(path, "index.json")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	p, err := layout.FromPath(path)
	if err != nil {
		return nil, fmt.Errorf("read image %q: %w", path, err)
	}
	idx, err := p.ImageIndex()
	if err != nil {
		return nil, fmt.Errorf("read image %q: %w", path, err)
	}
	s.blobs = filepath.Join(path, "blobs", "sha256")
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, s.fail(err)
	}
	if len(m.Manifests) == 1 && m.Manifests[0].MediaType.IsIndex() {
		if s.top, err = idx.ImageIndex(m.Manifests[0].Digest); err != nil {
			return nil, s.fail(err)
		}
	}
	return s, s.list(idx)
}

// list adds the images of an index and of those in it.
func (s *source) list(idx v1.ImageIndex) error {
	m, err := idx.IndexManifest()
	if err != nil {
		return s.fail(err)
	}
	for _, d := range m.Manifests {
		switch {
		case d.MediaType.IsIndex():
			inner, err := idx.ImageIndex(d.Digest)
			if err == nil {
				if s.index == "" {
					s.index = d.MediaType
				}
				err = s.list(inner)
			}
			if err != nil {
				return s.fail(err)
			}
		case !d.MediaType.IsImage():
		case d.Platform == nil || d.Platform.OS == "" && d.Platform.Architecture == "":
			img, err := idx.Image(d.Digest)
			if err != nil {
				return s.fail(err)
			}
			if err := s.add(img); err != nil {
				return err
			}
		case d.Platform.OS != "unknown": // as attestations are
			s.platforms = append(s.platforms, platformOf(d.Platform))
			s.open = append(s.open, func() (v1.Image, error) { return idx.Image(d.Digest) })
		}
	}
	return nil
}

// add adds an image whose config says what it runs on.
func (s *source) add(img v1.Image) error {
	cfg, err := img.ConfigFile()
	if err != nil {
		return s.fail(err)
	}
	p := Platform{OS: cfg.OS, Arch: cfg.Architecture, Variant: cfg.Variant}
	s.platforms = append(s.platforms, platformOf(p.descriptor()))
	s.open = append(s.open, func() (v1.Image, error) { return img, nil })
	return nil
}

func (s *source) fail(err error) error { return fmt.Errorf("read image %q: %w", s.name, explain(err)) }

// pick returns an image for each platform. If none is named, it is the only one that there is,
// or this machine's.
func (s *source) pick(platforms []Platform) ([]part, error) {
	if len(platforms) == 0 && len(s.platforms) == 1 {
		platforms = s.platforms
	} else if len(platforms) == 0 {
		platforms = []Platform{HostPlatform()}
	}
	var parts []part
	for _, want := range platforms {
		i := slices.IndexFunc(s.platforms, func(p Platform) bool { return p.serves(want) })
		if i < 0 {
			has := "it has none at all"
			if len(s.platforms) > 0 {
				has = "it has " + listed(s.platforms)
			}
			return nil, &bundle.Error{Kind: bundle.KindNotFound, Path: s.name, Reason: fmt.Sprintf("no image for %s: %s", want, has)}
		}
		img, err := s.open[i]()
		if err != nil {
			return nil, s.fail(err)
		}
		parts = append(parts, part{s.platforms[i], img})
	}
	return parts, nil
}

// scratchParts are empty images.
func scratchParts(platforms []Platform) ([]part, error) {
	if len(platforms) == 0 {
		platforms = []Platform{HostPlatform()}
	}
	var parts []part
	for _, p := range platforms {
		img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
		cfg := &v1.ConfigFile{OS: p.OS, Architecture: p.Arch, Variant: p.Variant, RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}
		cfg.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
		img, err := mutate.ConfigFile(img, cfg)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{p, img})
	}
	return parts, nil
}

// copyAll copies what is left of r, and until ctx ends.
func copyAll(ctx context.Context, w io.Writer, r io.Reader) error {
	_, err := io.Copy(w, bundle.ReaderWith(ctx, r))
	return err
}
