package oci

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/flowship/flowship/bundle"
)

// annotationRefName is what tools know an image in a layout by.
const annotationRefName = "org.opencontainers.image.ref.name"

// WriteTar writes the image as "docker save" does, for "docker load". That form holds one platform.
// The file appears when it is whole.
func (i *Image) WriteTar(ctx context.Context, file, name string) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".flowship-")
	if err != nil {
		return fmt.Errorf("oci: %w", &bundle.Error{Kind: bundle.KindUnavailable, Path: file, Reason: "cannot be written", Err: err})
	}
	defer os.Remove(f.Name()) // what was renamed is not there
	err = i.stream(ctx, f, name)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("oci: write image %q: %w", file, err)
	}
	return nil
}

// stream writes the image as "docker save" does.
func (i *Image) stream(ctx context.Context, w io.Writer, name string) error {
	ref, err := tag(name)
	if err != nil {
		return err
	}
	if len(i.parts) > 1 {
		return &InvalidError{"image", name, "is for " + listed(i.Platforms()) + ", and this form holds one platform"}
	}
	return aboutLayers(name, tarball.Write(ref, i.parts[0].image, &contextWriter{ctx, w}))
}

// contextWriter ends writing when ctx has ended.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (w *contextWriter) Write(p []byte) (int, error) {
	if err := context.Cause(w.ctx); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// WriteLayout writes the image as an OCI layout into dir, which must be empty or not be there, and
// appears when it is whole. Layers that lie in another layout on the same file system are linked.
func (i *Image) WriteLayout(ctx context.Context, dir, name string) error {
	ref, err := tag(name)
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	staging, final, err := stage(dir)
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	defer os.RemoveAll(staging)
	err = i.lay(ctx, staging, map[string]string{annotationRefName: ref.TagStr()})
	if err == nil {
		err = place(staging, final)
	}
	if err != nil {
		return fmt.Errorf("oci: write image %q: %w", dir, explain(err))
	}
	return nil
}

func (i *Image) lay(ctx context.Context, dir string, annotations map[string]string) error {
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	for _, part := range i.parts {
		layers, err := part.image.Layers()
		if err != nil {
			return err
		}
		for _, l := range layers {
			if err := i.layBlob(ctx, blobs, l); err != nil {
				return err
			}
		}
	}
	// It finds the layers there.
	if i.index != nil {
		return p.AppendIndex(i.index, layout.WithAnnotations(annotations))
	}
	return p.AppendImage(i.parts[0].image, layout.WithAnnotations(annotations), layout.WithPlatform(*i.parts[0].platform.descriptor()))
}

// layBlob puts a layer under its digest, and proves that it has that.
func (i *Image) layBlob(ctx context.Context, blobs string, l v1.Layer) error {
	digest, err := l.Digest()
	if err != nil {
		return err
	}
	if digest.Algorithm != "sha256" {
		return fmt.Errorf("layer %s: the digest is not SHA-256", digest)
	}
	to := filepath.Join(blobs, digest.Hex)
	if _, err := os.Lstat(to); err == nil {
		return nil // the same as of another platform
	}
	h := sha256.New()
	linked, err := i.link(ctx, h, digest, to)
	if err != nil {
		return err
	}
	if !linked {
		r, err := l.Compressed()
		if err != nil {
			return err
		}
		defer r.Close()
		f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		from := &told{r: r}
		copied, closed := copyAll(ctx, io.MultiWriter(f, h), from), f.Close()
		switch {
		case closed != nil || copied != nil && from.err == nil:
			return &bundle.Error{Kind: bundle.KindUnavailable, Path: to, Reason: "cannot be written", Err: errors.Join(copied, closed)}
		case brokeOff(ctx, copied):
			return copied
		}
		err = copied // the client looks at what came, too
	}
	if got := hashOf(h); got != digest {
		return &bundle.Error{Kind: bundle.KindTampered, Path: digest.String(), Reason: "the layer is not what its digest says"}
	}
	return err
}

// link makes a second name for a layer of a local layout and hashes it. Where it cannot, the layer
// is to be copied.
func (i *Image) link(ctx context.Context, h io.Writer, digest v1.Hash, to string) (bool, error) {
	if i.blobs == "" {
		return false, nil
	}
	from := filepath.Join(i.blobs, digest.Hex)
	if info, err := os.Lstat(from); err != nil || !info.Mode().IsRegular() || os.Link(from, to) != nil {
		return false, nil
	}
	f, err := os.Open(to)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return true, copyAll(ctx, h, f)
}
