package oci

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/flowship/flowship/bundle"
)

// Image is an image for one platform, or an index of one for each of several. Close it.
type Image struct {
	parts     []part
	index     v1.ImageIndex // nil for one platform
	indexType types.MediaType
	blobs     string // directory of layers of which some may be in it; "" for none
	scratch   string // removed by Close
	digest    v1.Hash
	size      int64
}

// Open opens the image, of all its platforms, in an OCI layout or in a file of "docker save".
func Open(ctx context.Context, path string) (_ *Image, err error) {
	dir, err := os.MkdirTemp("", "flowship-image-")
	if err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	img := &Image{scratch: dir}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	s, err := openLocal(ctx, path, dir)
	if err == nil && s == nil {
		err = &InvalidError{"image", path, "neither a directory with an OCI layout nor a file of docker save"}
	}
	if err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	img.blobs, img.index = s.blobs, s.top
	for i, p := range s.platforms {
		one, err := s.open[i]()
		if err != nil {
			return nil, fmt.Errorf("oci: %w", s.fail(err))
		}
		img.parts = append(img.parts, part{p, one})
	}
	if len(img.parts) == 0 {
		return nil, fmt.Errorf("oci: %w", &InvalidError{"image", path, "it holds no images"})
	}
	if err := img.finish(s.index); err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	return img, nil
}

// Close removes what the image kept on the disk.
func (i *Image) Close() error { return os.RemoveAll(i.scratch) }

// Digest is that of the manifest or, for several platforms, of the index: "sha256:…".
func (i *Image) Digest() string { return i.digest.String() }

// Size is what all of it amounts to in a registry, in bytes.
func (i *Image) Size() int64 { return i.size }

// Platforms are what it runs on.
func (i *Image) Platforms() []Platform {
	var platforms []Platform
	for _, p := range i.parts {
		platforms = append(platforms, p.platform)
	}
	return platforms
}

// finish makes the index, and learns digest and size.
func (i *Image) finish(indexType types.MediaType) (err error) {
	var top interface {
		Digest() (v1.Hash, error)
		Size() (int64, error)
	}
	if top = i.parts[0].image; i.index != nil {
		top = i.index
	} else if len(i.parts) > 1 {
		if indexType == "" {
			indexType = types.OCIImageIndex
		}
		var adds []mutate.IndexAddendum
		for _, p := range i.parts {
			adds = append(adds, mutate.IndexAddendum{Add: p.image, Descriptor: v1.Descriptor{Platform: p.platform.descriptor()}})
		}
		i.index = mutate.AppendManifests(mutate.IndexMediaType(empty.Index, indexType), adds...)
		top = i.index
	}
	if i.digest, err = top.Digest(); err != nil {
		return explain(err)
	}
	if i.index != nil {
		if i.size, err = top.Size(); err != nil {
			return explain(err)
		}
	}
	seen := map[v1.Hash]bool{}
	for _, p := range i.parts {
		m, err := p.image.Manifest()
		if err != nil {
			return explain(err)
		}
		n, err := p.image.Size()
		if err != nil {
			return explain(err)
		}
		i.size += n + m.Config.Size
		for _, l := range m.Layers {
			if !seen[l.Digest] {
				seen[l.Digest] = true
				i.size += l.Size
			}
		}
	}
	return nil
}

// tag reads the name that an image is to have.
func tag(text string) (name.Tag, error) {
	t, err := name.NewTag(text)
	if err != nil {
		return name.Tag{}, &InvalidError{"image", withoutUser(text), "want NAME:TAG or REGISTRY/NAME:TAG, in lower case"}
	}
	return t, nil
}

// Push brings the image into a registry: what is there already, or in another repository of the
// same registry, is not sent.
func (i *Image) Push(ctx context.Context, name string, opts *RegistryOptions) error {
	ref, err := tag(name)
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	updates := make(chan v1.Update)
	pushed, counted := make(chan struct{}), make(chan int64, 1)
	go func() { counted <- count(updates, pushed, opts) }()
	options := append(opts.remote(ctx), remote.WithProgress(updates))
	if i.index != nil {
		err = remote.WriteIndex(ref, i.index, options...)
	} else {
		err = remote.Write(ref, i.parts[0].image, options...)
	}
	close(pushed)
	at := <-counted
	if err != nil {
		return fmt.Errorf("oci: push image %q: %w", name, aboutLayers(name, err))
	}
	opts.progress(i.size - at) // the client forgets manifests, and the last bytes of a layer
	return nil
}

// aboutLayers is explain for what reads the base's layers. The error of the client for bytes with
// another digest has no name.
func aboutLayers(name string, err error) error {
	if err != nil && strings.Contains(err.Error(), "error verifying") {
		return &bundle.Error{Kind: bundle.KindTampered, Path: name, Reason: "a layer of the base is not what its digest says", Err: err}
	}
	return explain(err)
}

// count passes on what a push says of its progress, until it is done: the channel is not closed in
// every case. It returns how far it came.
func count(updates <-chan v1.Update, done <-chan struct{}, opts *RegistryOptions) (at int64) {
	for {
		select {
		case u := <-updates:
			if u.Complete > 0 { // neither closed nor an error
				opts.progress(u.Complete - at)
				at = u.Complete
			}
		case <-done:
			return at
		}
	}
}
