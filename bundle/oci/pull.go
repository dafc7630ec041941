package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/flowship/flowship/bundle"
)

// Pull fetches the bundle that ref names, verifies it and puts it into dir, which must be empty or
// not be there. Nothing appears there unless all of it is right; what does not verify is an error
// of kind tampered, what is no bundle of kind refused.
func Pull(ctx context.Context, ref, dir string, opts *RegistryOptions) (*bundle.Bundle, error) {
	staging, final, err := stage(dir)
	if err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	defer os.RemoveAll(staging)
	b, err := Fetch(ctx, ref, staging, opts)
	if err != nil {
		return nil, err
	}
	if err := verify(ctx, b, nil); err != nil {
		return nil, fmt.Errorf("oci: pull %q: %w", ref, err)
	}
	if err := place(staging, final); err != nil {
		return nil, fmt.Errorf("oci: %w", &bundle.Error{Kind: bundle.KindUnavailable, Path: dir, Reason: "cannot be written", Err: err})
	}
	return bundle.Open(final)
}

// Fetch is [Pull] into an empty directory that leaves it to the caller to verify what is there:
// each object has the digest that the manifest says, and no more is known.
func Fetch(ctx context.Context, ref, dir string, opts *RegistryOptions) (*bundle.Bundle, error) {
	f, err := find(ctx, ref, opts)
	if err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	b, err := f.fetch(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("oci: pull %q: %w", ref, explain(err))
	}
	return b, nil
}

// Described is what a registry has of a bundle besides its files.
type Described struct {
	Document    *bundle.Document
	Digest      bundle.Digest // of the document
	ArchiveSize int64         // bytes; 0 when no files travel
}

// Describe fetches the document alone of the bundle that ref names.
func Describe(ctx context.Context, ref string, opts *RegistryOptions) (_ *Described, err error) {
	f, err := find(ctx, ref, opts)
	if err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	dir, err := os.MkdirTemp("", "flowship-")
	if err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	defer os.RemoveAll(dir)
	b, err := f.fetchDocument(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("oci: %q: %w", ref, explain(err))
	}
	return &Described{Document: b.Document, Digest: b.Digest, ArchiveSize: f.layers[mediaTypeFiles].Size}, nil
}

// fetching is one bundle in a registry.
type fetching struct {
	ref    string
	repo   name.Repository
	layers map[types.MediaType]v1.Descriptor
	opts   *RegistryOptions
}

// find reads the manifest that ref names.
func find(ctx context.Context, ref string, opts *RegistryOptions) (*fetching, error) {
	r, err := parseReference(ref)
	if err != nil {
		return nil, err
	}
	d, err := get(ctx, r, opts)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			return nil, &bundle.Error{Kind: bundle.KindNotFound, Path: ref, Err: err}
		}
		return nil, fmt.Errorf("get %q: %w", ref, err)
	}
	f := &fetching{ref: ref, repo: r.Context(), opts: opts}
	if f.layers, err = parseManifest(d.Manifest); err != nil {
		return nil, &bundle.Error{Kind: bundle.KindRefused, Path: ref, Reason: "is no bundle", Err: err}
	}
	return f, nil
}

// parseManifest returns the layers of a bundle's manifest by their types.
func parseManifest(raw []byte) (map[types.MediaType]v1.Descriptor, error) {
	var m manifest
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&m); err != nil {
		return nil, err
	}
	if m.ArtifactType != ArtifactType {
		return nil, fmt.Errorf("its artifact type is %q, not %q", m.ArtifactType, ArtifactType)
	}
	layers := map[types.MediaType]v1.Descriptor{}
	for _, l := range m.Layers {
		switch l.MediaType {
		case mediaTypeDocument, mediaTypeFiles, mediaTypeProgram:
		default:
			continue // later versions may add what earlier ones need not know
		}
		if _, twice := layers[l.MediaType]; twice {
			return nil, fmt.Errorf("two layers are of type %q", l.MediaType)
		}
		if l.Digest.Algorithm != "sha256" || l.Size < 0 {
			return nil, fmt.Errorf("the layer of type %q has no SHA-256 or no size", l.MediaType)
		}
		layers[l.MediaType] = l
	}
	if _, ok := layers[mediaTypeDocument]; !ok {
		return nil, fmt.Errorf("no layer is of type %q", mediaTypeDocument)
	}
	return layers, nil
}

func (f *fetching) fetchDocument(ctx context.Context, dir string) (*bundle.Bundle, error) {
	file := filepath.Join(dir, documentName)
	if err := f.fetchLayer(ctx, f.layers[mediaTypeDocument], file); err != nil {
		return nil, err
	}
	return bundle.Open(file)
}

// fetch copies the bundle, where the manifest has what the document names.
func (f *fetching) fetch(ctx context.Context, dir string) (*bundle.Bundle, error) {
	b, err := f.fetchDocument(ctx, dir)
	if err != nil {
		return nil, err
	}
	for _, o := range objectsOf(b)[1:] {
		l, ok := f.layers[o.mediaType]
		if !ok {
			return nil, &bundle.Error{Kind: bundle.KindTampered, Path: o.key, Reason: "the document names it, the manifest has no such layer"}
		}
		if !o.digest.IsZero() && l.Digest != hashOfDigest(o.digest) {
			return nil, &bundle.Error{Kind: bundle.KindTampered, Path: o.key, Reason: fmt.Sprintf("the manifest has %s, the document %s", l.Digest, o.digest)}
		}
		if err := os.MkdirAll(filepath.Dir(o.path), 0o755); err != nil {
			return nil, err
		}
		if err := f.fetchLayer(ctx, l, o.path); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// attempts is how often a layer is asked for whose connection breaks off on the way. The client
// itself asks again only where there was no answer.
const attempts = 3

func (f *fetching) fetchLayer(ctx context.Context, l v1.Descriptor, path string) error {
	for attempt := 1; ; attempt++ {
		from, err := remote.Layer(f.repo.Digest(l.Digest.String()), f.opts.remote(ctx)...)
		if err != nil {
			return err
		}
		r, err := from.Compressed()
		if err != nil {
			return err
		}
		err = errors.Join(f.write(ctx, r, l, path), r.Close())
		if err == nil || !cut(err) || ctx.Err() != nil || attempt == attempts {
			return err
		}
	}
}

// write writes what comes of a layer to a file, and proves that it is the layer.
func (f *fetching) write(ctx context.Context, r io.Reader, l v1.Descriptor, path string) (err error) {
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	n := int64(0)
	defer func() {
		if err != nil {
			f.opts.progress(-n)
		}
	}()
	from := &told{r: io.LimitReader(bundle.ReaderWith(ctx, r), l.Size+1), opts: f.opts}
	n, err = io.Copy(out, from)
	switch {
	case err != nil && from.err == nil:
		return &bundle.Error{Kind: bundle.KindUnavailable, Path: path, Reason: "cannot be written", Err: err}
	case brokeOff(ctx, err):
		return err
	}
	// Whatever else the client says, what came decides.
	if _, seekErr := out.Seek(0, io.SeekStart); seekErr != nil {
		return seekErr
	}
	h, size, hashErr := v1.SHA256(bundle.ReaderWith(ctx, out))
	switch {
	case hashErr != nil:
		return hashErr
	case h != l.Digest || size != l.Size:
		return &bundle.Error{Kind: bundle.KindTampered, Path: f.ref, Reason: fmt.Sprintf("the registry sent something else for %s", l.Digest), Err: err}
	}
	return err
}

// told counts what is read, and remembers why reading failed.
type told struct {
	r    io.Reader
	opts *RegistryOptions
	err  error
}

func (t *told) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.opts.progress(int64(n))
	if err != nil && err != io.EOF {
		t.err = err
	}
	return n, err
}

// brokeOff reports whether reading failed for a reason that does not lie in what was read.
func brokeOff(ctx context.Context, err error) bool {
	return cut(err) || errors.Is(err, errSilent) || ctx.Err() != nil
}
