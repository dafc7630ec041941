package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/flowship/flowship/bundle"
)

// ArtifactType is the type of the artifact that a bundle is in a registry.
const ArtifactType = "application/vnd.flowship.bundle.v1+json"

const (
	mediaTypeDocument types.MediaType = "application/vnd.flowship.bundle.document.v1+json"
	mediaTypeFiles    types.MediaType = "application/vnd.flowship.bundle.files.v1+zip"
	mediaTypeProgram  types.MediaType = "application/vnd.flowship.bundle.program.v1"
	mediaTypeEmpty    types.MediaType = "application/vnd.oci.empty.v1+json"
)

const annotationTitle = "org.opencontainers.image.title"

// scheme begins the references of bundles in registries.
const scheme = "oci://"

// IsReference reports whether a reference is of a bundle in a registry.
func IsReference(ref string) bool { return strings.HasPrefix(ref, scheme) }

// parseReference reads oci://REGISTRY/REPOSITORY:TAG or …@sha256:….
func parseReference(ref string) (name.Reference, error) {
	rest, ok := strings.CutPrefix(ref, scheme)
	host, _, below := strings.Cut(rest, "/")
	bad := &InvalidError{"bundle", withoutUser(ref), "want " + scheme + "REGISTRY/REPOSITORY:TAG or …@sha256:…, in lower case"}
	if !ok || !below || !strings.ContainsAny(host, ".:") && host != "localhost" || strings.Contains(host, "@") {
		return nil, bad
	}
	r, err := name.ParseReference(rest)
	if err != nil {
		return nil, bad
	}
	return r, nil
}

// object is one object of a bundle.
type object struct {
	key, path string
	digest    bundle.Digest // zero where it is not known
	mediaType types.MediaType
}

// objectsOf are the objects of a bundle with a document, which is the first of them.
func objectsOf(b *bundle.Bundle) []object {
	list := []object{{documentName, b.DocumentPath, b.Digest, mediaTypeDocument}}
	if b.ArchivePath != "" {
		o := object{key: b.Document.FilesKey, path: b.ArchivePath, mediaType: mediaTypeFiles}
		if f := b.Document.Flowship; f != nil {
			o.digest = f.Archive.SHA256
		}
		list = append(list, o)
	}
	if b.ProgramPath != "" {
		key := b.Document.Flowship.Program.Key
		digest, _ := bundle.ParseProgramKey(key) // else there were no path
		list = append(list, object{key, b.ProgramPath, digest, mediaTypeProgram})
	}
	return list
}

// manifest is what a registry keeps of an artifact.
type manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	Type          types.MediaType `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        v1.Descriptor   `json:"config"`
	Layers        []v1.Descriptor `json:"layers"`
}

func (m *manifest) RawManifest() ([]byte, error)        { return json.Marshal(m) }
func (m *manifest) MediaType() (types.MediaType, error) { return m.Type, nil }

// Pushed is a bundle in a registry.
type Pushed struct {
	URL           string        // oci://REGISTRY/REPOSITORY:TAG
	Ref           string        // the same with the digest of the manifest
	Manifest      string        // that digest, "sha256:…"
	Digest        bundle.Digest // of the document
	FilesKey      string        // "" when no files travel
	UploadedBytes int64
	ReusedBytes   int64 // of what was in the repository
}

// Push verifies the bundle at path and brings it into a registry, under a tag. Until all of it is
// there the tag is what it was.
func Push(ctx context.Context, path, ref string, opts *RegistryOptions) (*Pushed, error) {
	r, err := parseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	to, ok := r.(name.Tag)
	if !ok {
		return nil, fmt.Errorf("oci: %w", &InvalidError{"bundle", ref, "a bundle is pushed to a tag; its digest follows from its content"})
	}
	b, err := bundle.Open(path)
	if err != nil {
		return nil, err
	}
	if err := verify(ctx, b, nil); err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	p := &Pushed{URL: scheme + to.Name(), Digest: b.Digest, FilesKey: b.Document.FilesKey}
	if err := p.send(ctx, b, to, opts); err != nil {
		return nil, fmt.Errorf("oci: push %q: %w", ref, explain(err))
	}
	return p, nil
}

func (p *Pushed) send(ctx context.Context, b *bundle.Bundle, to name.Tag, opts *RegistryOptions) error {
	pusher, err := remote.NewPusher(opts.remote(ctx)...)
	if err != nil {
		return err
	}
	none := static.NewLayer([]byte("{}"), mediaTypeEmpty)
	if err := pusher.Upload(ctx, to.Context(), none); err != nil {
		return err
	}
	m := &manifest{SchemaVersion: 2, Type: types.OCIManifestSchema1, ArtifactType: ArtifactType}
	if m.Config, err = describe([]byte("{}"), mediaTypeEmpty); err != nil {
		return err
	}
	for _, o := range objectsOf(b) {
		l, err := o.layer(ctx)
		if err != nil {
			return err
		}
		if err := pusher.Upload(ctx, to.Context(), l); err != nil {
			return err
		}
		if l.opened.Load() {
			p.UploadedBytes += l.size
		} else {
			p.ReusedBytes += l.size
		}
		opts.progress(l.size)
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: o.mediaType, Size: l.size, Digest: l.digest, Annotations: map[string]string{annotationTitle: o.key}})
	}
	if err := pusher.Push(ctx, to, m); err != nil {
		return err
	}
	raw, err := m.RawManifest()
	if err != nil {
		return err
	}
	d, err := describe(raw, m.Type)
	p.Manifest = d.Digest.String()
	p.Ref = scheme + to.Context().Name() + "@" + p.Manifest
	return err
}

// layer is the object as a blob, which the registry refuses when its bytes have another digest.
func (o *object) layer(ctx context.Context) (*layer, error) {
	f, err := os.Open(o.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h, size, err := v1.SHA256(bundle.ReaderWith(ctx, f))
	if err != nil {
		return nil, err
	}
	if !o.digest.IsZero() && h != hashOfDigest(o.digest) {
		return nil, &bundle.Error{Kind: bundle.KindChanged, Path: o.path, Reason: "changed while it was read"}
	}
	return &layer{path: o.path, digest: h, diffID: h, size: size, mediaType: o.mediaType}, nil
}
