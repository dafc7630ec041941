package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"github.com/flowship/flowship/bundle"
)

// openTar opens the image in a file of "docker save", which may be compressed by gzip. Layers that
// are not compressed, as Docker writes them, are compressed into scratch.
func openTar(ctx context.Context, file, scratch string) (v1.Image, error) {
	opener := func() (io.ReadCloser, error) { return openUnzipped(file) }
	m, err := tarball.LoadManifest(opener)
	if err != nil {
		return nil, notATar(file, err)
	}
	img, err := tarball.Image(opener, nil)
	if err != nil {
		return nil, notATar(file, err)
	}
	if len(m) != 1 || len(m[0].Layers) == 0 {
		return img, nil
	}
	plain, err := plainLayer(opener, m[0].Layers[0])
	if err != nil {
		return nil, notATar(file, err)
	}
	if !plain {
		return img, nil
	}
	return compressed(ctx, img, scratch)
}

func notATar(file string, err error) error {
	return &bundle.Error{Kind: bundle.KindRefused, Path: file, Reason: "is no image that docker save wrote", Err: err}
}

func openUnzipped(file string) (io.ReadCloser, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	start := make([]byte, 2)
	n, _ := io.ReadFull(f, start)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !bytes.Equal(start[:n], []byte{0x1f, 0x8b}) {
		return f, nil
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &bothClosed{z, f}, nil
}

// plainLayer reports whether a layer is an uncompressed tar.
func plainLayer(open tarball.Opener, name string) (bool, error) {
	f, err := open()
	if err != nil {
		return false, err
	}
	defer f.Close()
	for t := tar.NewReader(f); ; {
		h, err := t.Next()
		if err != nil {
			return false, err
		}
		if path.Clean(h.Name) != path.Clean(name) {
			continue
		}
		start := make([]byte, 4)
		n, _ := io.ReadFull(t, start)
		start = start[:n]
		return !bytes.HasPrefix(start, []byte{0x1f, 0x8b}) && !bytes.Equal(start, []byte{0x28, 0xb5, 0x2f, 0xfd}), nil // gzip, Zstandard
	}
}

// compressed is the image with its layers compressed, each of them once. Its config, which is its
// id in Docker, stays as it is.
func compressed(ctx context.Context, img v1.Image, scratch string) (v1.Image, error) {
	config, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	out := &spooled{config: config, layers: map[v1.Hash]*layer{}}
	out.manifest = v1.Manifest{SchemaVersion: 2, MediaType: types.DockerManifestSchema2}
	if out.manifest.Config, err = describe(config, types.DockerConfigJSON); err != nil {
		return nil, err
	}
	made := map[v1.Hash]*layer{}
	for _, id := range cfg.RootFS.DiffIDs {
		l := made[id]
		if l == nil {
			if l, err = compress(ctx, img, id, scratch); err != nil {
				return nil, err
			}
			made[id], out.layers[l.digest] = l, l
		}
		out.manifest.Layers = append(out.manifest.Layers, v1.Descriptor{MediaType: l.mediaType, Size: l.size, Digest: l.digest})
	}
	return partial.CompressedToImage(out)
}

func describe(content []byte, mediaType types.MediaType) (v1.Descriptor, error) {
	h, n, err := v1.SHA256(bytes.NewReader(content))
	return v1.Descriptor{MediaType: mediaType, Size: n, Digest: h}, err
}

// spooled is an image whose layers were compressed here.
type spooled struct {
	config   []byte
	manifest v1.Manifest
	layers   map[v1.Hash]*layer
}

func (s *spooled) RawConfigFile() ([]byte, error)      { return s.config, nil }
func (s *spooled) MediaType() (types.MediaType, error) { return s.manifest.MediaType, nil }
func (s *spooled) RawManifest() ([]byte, error)        { return json.Marshal(&s.manifest) }

func (s *spooled) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if l := s.layers[h]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("no layer %s", h)
}

func compress(ctx context.Context, img v1.Image, id v1.Hash, scratch string) (*layer, error) {
	from, err := img.LayerByDiffID(id)
	if err != nil {
		return nil, err
	}
	r, err := from.Uncompressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// A base is large, and somebody waits.
	l, err := spool(scratch, gzip.BestSpeed, func(w io.Writer) error { return copyAll(ctx, w, r) })
	if err != nil {
		return nil, err
	}
	if l.diffID != id {
		return nil, &bundle.Error{Kind: bundle.KindTampered, Path: id.String(), Reason: "the layer is " + l.diffID.String()}
	}
	l.mediaType = types.DockerLayer
	return l, nil
}
