package oci

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/flowship/flowship/bundle"
)

// Where things are in the images that [Build] makes.
const (
	ExecutorPath = "/usr/local/bin/flowship"
	StorePath    = "/flowship/store"
	WorkPath     = "/flowship/work"
)

// documentName is the key of the document in a bundle directory.
const documentName = "bundle.json"

// The labels of an image with a bundle. That of the base is an annotation.
const (
	LabelDigest     = "dev.flowship.bundle.digest"     // of the document
	LabelKey        = "dev.flowship.bundle.key"        // of the document in the store
	LabelRuntime    = "dev.flowship.bundle.runtime"    // python, go or exec
	LabelEntrypoint = "dev.flowship.bundle.entrypoint" // absent for exec
	annotationBase  = "org.opencontainers.image.base.digest"
)

// BuildOptions say what an image is made of.
type BuildOptions struct {
	// Base is the name of an image in a registry, the path of an OCI layout or of a file of
	// "docker save", or [Scratch].
	Base string
	// Platforms are those to make an image for. With none it is the base's only one, else this
	// machine's architecture.
	Platforms []Platform
	// Executor returns the path of the executor for a platform: a program that needs nothing
	// but the kernel.
	Executor func(ctx context.Context, platform Platform) (path string, err error)
	// Bundle, if not nil, is what the image runs.
	Bundle *bundle.Bundle
	// Scratch is where layers are kept until [Image.Close]; "" is the system's temporary directory.
	Scratch string
	// Registry says how the base is asked for.
	Registry *RegistryOptions
}

// Build makes an image. The bundle is verified first: one that does not verify is an error of kind
// tampered, one that is for another platform of kind refused. Where the base is in a registry,
// ctx is also that of what the image is done with later, and it must not end before.
func Build(ctx context.Context, opts *BuildOptions) (_ *Image, err error) {
	dir, err := os.MkdirTemp(opts.Scratch, "flowship-image-")
	if err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	b := &build{BuildOptions: opts, dir: dir, img: &Image{scratch: dir}, layers: map[string]*layer{}}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	if err := b.run(ctx); err != nil {
		return nil, fmt.Errorf("oci: %w", err)
	}
	return b.img, nil
}

type build struct {
	*BuildOptions
	dir    string
	img    *Image
	layers map[string]*layer // of executors by their paths, of the bundle by ""
}

func (b *build) run(ctx context.Context) error {
	if err := b.checkBundle(ctx); err != nil {
		return err
	}
	for i, p := range b.Platforms {
		if slices.Contains(b.Platforms[:i], p) {
			return &InvalidError{"platform", p.String(), "is named twice"}
		}
	}
	parts, err := b.openBase(ctx)
	if err != nil {
		return err
	}
	for _, base := range parts {
		if err := b.checkPlatform(base.platform); err != nil {
			return err
		}
		made, err := b.extend(ctx, base)
		if err != nil {
			return err
		}
		b.img.parts = append(b.img.parts, part{base.platform, made})
	}
	return b.img.finish(b.img.indexType)
}

func (b *build) openBase(ctx context.Context) ([]part, error) {
	if b.Base == Scratch {
		return scratchParts(b.Platforms)
	}
	s, err := openSource(ctx, b.Base, b.dir, b.Registry)
	if err != nil {
		return nil, err
	}
	b.img.blobs, b.img.indexType = s.blobs, s.index
	return s.pick(b.Platforms)
}

func (b *build) checkBundle(ctx context.Context) error {
	if b.Bundle == nil {
		return nil
	}
	if err := verify(ctx, b.Bundle, nil); err != nil {
		return err
	}
	if b.Bundle.Document.Flowship == nil {
		return &bundle.Error{Kind: bundle.KindRefused, Path: b.Bundle.DocumentPath, Reason: "the document is Prefect's own: it holds a pickled flow, which only Prefect can run"}
	}
	return nil
}

// verify reads the whole bundle.
func verify(ctx context.Context, b *bundle.Bundle, progress func(int64)) error {
	if b.Document == nil {
		return &bundle.Error{Kind: bundle.KindRefused, Path: b.ArchivePath, Reason: "is a sidecar alone: a bundle has a document"}
	}
	report, err := b.Verify(ctx, &bundle.VerifyOptions{Progress: progress})
	if err != nil {
		return err
	}
	if report.OK {
		return nil
	}
	p := report.Problems[0]
	reason := fmt.Sprintf("does not verify: %s: %s: %s", p.Kind, p.Path, p.Detail)
	if n := len(report.Problems); n > 1 {
		reason += fmt.Sprintf(", and %d more", n-1)
	}
	return &bundle.Error{Kind: bundle.KindTampered, Path: b.DocumentPath, Reason: reason}
}

// checkPlatform refuses a program in the bundle that cannot run there.
func (b *build) checkPlatform(p Platform) error {
	if p.OS != "linux" {
		return &InvalidError{"platform", p.String(), "images are made for linux"}
	}
	if b.Bundle == nil || b.Bundle.Document.Flowship.Program == nil {
		return nil
	}
	if program := b.Bundle.Document.Flowship.Program; program.OS != p.OS || program.Arch != p.Arch {
		return &bundle.Error{Kind: bundle.KindRefused, Path: b.Bundle.DocumentPath, Reason: fmt.Sprintf("its program is for %s/%s, the image for %s", program.OS, program.Arch, p)}
	}
	return nil
}

// extend puts the layers onto a base, and says in its config what to run.
func (b *build) extend(ctx context.Context, base part) (v1.Image, error) {
	executor, err := b.executorLayer(ctx, base.platform)
	if err != nil {
		return nil, err
	}
	mediaType, err := base.image.MediaType()
	if err != nil {
		return nil, explain(err)
	}
	layerType := types.OCILayer
	if mediaType == types.DockerManifestSchema2 {
		layerType = types.DockerLayer
	}
	cfg, err := base.image.ConfigFile()
	if err != nil {
		return nil, explain(err)
	}
	cfg = cfg.DeepCopy()
	adds := []mutate.Addendum{{Layer: executor.as(layerType), History: history("the executor")}}
	if b.Bundle != nil {
		files, err := b.bundleLayer(ctx)
		if err != nil {
			return nil, err
		}
		adds = append(adds, mutate.Addendum{Layer: files.as(layerType), History: history("bundle " + b.Bundle.Digest.String())})
		b.configure(&cfg.Config)
	}
	cfg.Created = v1.Time{Time: epoch}
	out, err := mutate.ConfigFile(base.image, cfg)
	if err != nil {
		return nil, explain(err)
	}
	if out, err = mutate.Append(out, adds...); err != nil {
		return nil, explain(err)
	}
	if mediaType != types.OCIManifestSchema1 || b.Base == Scratch {
		return out, nil
	}
	digest, err := base.image.Digest()
	if err != nil {
		return nil, explain(err)
	}
	return mutate.Annotations(out, map[string]string{annotationBase: digest.String()}).(v1.Image), nil
}

func history(what string) v1.History {
	return v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "flowship image build: " + what}
}

func (b *build) executorLayer(ctx context.Context, p Platform) (*layer, error) {
	file, err := b.Executor(ctx, p)
	if err != nil {
		return nil, err
	}
	if l := b.layers[file]; l != nil {
		return l, nil
	}
	if err := checkExecutor(file, p); err != nil {
		return nil, err
	}
	entries := []entry{{name: strings.TrimPrefix(ExecutorPath, "/"), mode: 0o755, from: file}}
	if b.Base == Scratch {
		entries = append(entries, entry{name: "tmp", mode: 0o1777}) // which the executor needs
	}
	l, err := pack(ctx, b.dir, entries)
	b.layers[file] = l
	return l, err
}

func (b *build) bundleLayer(ctx context.Context) (*layer, error) {
	if l := b.layers[""]; l != nil {
		return l, nil
	}
	store := strings.TrimPrefix(StorePath, "/")
	entries := []entry{
		{name: path.Join(store, documentName), mode: 0o644, from: b.Bundle.DocumentPath, want: b.Bundle.Digest},
		// Whoever the container runs as.
		{name: path.Join(store, "results"), mode: 0o1777},
		{name: strings.TrimPrefix(WorkPath, "/"), mode: 0o1777},
	}
	for _, o := range objectsOf(b.Bundle)[1:] {
		mode := int64(0o644)
		if o.mediaType == mediaTypeProgram {
			mode = 0o755
		}
		entries = append(entries, entry{name: path.Join(store, o.key), mode: mode, from: o.path, want: o.digest})
	}
	l, err := pack(ctx, b.dir, entries)
	b.layers[""] = l
	return l, err
}

// configure makes running the image run the bundle, and nothing else.
func (b *build) configure(cfg *v1.Config) {
	cfg.Entrypoint = []string{ExecutorPath, "step", "execute", "--url", "file://" + StorePath, "--key", documentName, "--digest", b.Bundle.Digest.String()}
	cfg.Cmd = nil
	cfg.WorkingDir = WorkPath
	f := b.Bundle.Document.Flowship
	labels := maps.Clone(cfg.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[LabelDigest], labels[LabelKey], labels[LabelRuntime] = b.Bundle.Digest.String(), documentName, string(f.Runtime)
	if f.Entrypoint != "" {
		labels[LabelEntrypoint] = f.Entrypoint
	}
	cfg.Labels = labels
}

// place gives a finished directory its name, which must be free or that of an empty one.
func place(staging, dir string) error {
	if err := os.Chmod(staging, 0o755); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Rename(staging, dir)
}

// stage makes a directory that [place] can give the name dir.
func stage(dir string) (staging, final string, err error) {
	if final, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	switch entries, err := os.ReadDir(final); {
	case err == nil && len(entries) > 0:
		return "", "", &bundle.Error{Kind: bundle.KindConflict, Path: dir, Reason: "is not empty"}
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return "", "", &bundle.Error{Kind: bundle.KindConflict, Path: dir, Reason: "is not a directory to write to", Err: err}
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o777); err != nil {
		return "", "", &bundle.Error{Kind: bundle.KindUnavailable, Path: dir, Err: err}
	}
	if staging, err = os.MkdirTemp(filepath.Dir(final), ".flowship-"); err != nil {
		return "", "", &bundle.Error{Kind: bundle.KindUnavailable, Path: dir, Err: err}
	}
	return staging, final, nil
}
