package submit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/orchestrator"
)

// OpenBundle finds the bundle that ref names: a path as [bundle.Open] takes it, the id of a
// flow run, or the URL of a document or sidecar in a store, "file:///store/KEY". The caller
// calls cleanup when done with it.
//
// What is not there is an error of kind not_found. A flow run's document that is not the one
// that was submitted is of kind tampered; anything else is left to [bundle.Bundle.Verify].
func (c *Client) OpenBundle(ctx context.Context, ref string) (b *bundle.Bundle, cleanup func(), err error) {
	if isURL(ref) {
		url, key := splitURL(ref)
		return c.fetch(ctx, ref, url, key, bundle.Digest{})
	}
	id, notID := uuid.Parse(ref)
	if _, err := os.Stat(ref); notID != nil || err == nil {
		b, err := bundle.Open(ref)
		return b, func() {}, err
	}
	run, err := c.flowRun(ctx, id.String())
	if errors.Is(err, orchestrator.ErrNotFound) {
		return nil, nil, &bundle.Error{Kind: bundle.KindNotFound, Path: ref, Reason: "neither a path nor a flow run", Err: orchestrator.ErrNotFound}
	}
	if err != nil {
		return nil, nil, err
	}
	digest, err := bundle.ParseDigest(run.Bundle.Digest)
	if err != nil {
		return nil, nil, fmt.Errorf("submit: flow run %q: %w", ref, err)
	}
	return c.fetch(ctx, ref, run.Bundle.URL, run.Bundle.Key, digest)
}

// flowRun looks a run up. Where there are no flow runs, it does not make a place for them.
func (c *Client) flowRun(ctx context.Context, id string) (*orchestrator.FlowRun, error) {
	if _, err := os.Stat(databasePath(c.state)); errors.Is(err, fs.ErrNotExist) {
		return nil, orchestrator.ErrNotFound
	}
	runs, err := c.currentRuns(ctx)
	if err != nil {
		return nil, err
	}
	run, err := runs.FlowRun(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return run, nil
}

// isURL reports whether a reference is a URL rather than a path.
func isURL(ref string) bool { return strings.Contains(ref, "://") }

// splitURL parts the URL of an object into those of the store and the object's key. A document
// lies at the top of its store, a sidecar below files/.
func splitURL(ref string) (url, key string) {
	slash := strings.LastIndexByte(ref, '/')
	url, key = ref[:slash], ref[slash+1:]
	if top, ok := strings.CutSuffix(url, "/files"); ok {
		if _, err := bundle.ParseFilesKey("files/" + key); err == nil {
			return top, "files/" + key
		}
	}
	return url, key
}

// fetch copies a bundle from a store into a temporary directory.
func (c *Client) fetch(ctx context.Context, ref, url, key string, digest bundle.Digest) (_ *bundle.Bundle, cleanup func(), err error) {
	store, err := storage.Open(ctx, url, nil)
	if err != nil {
		return nil, nil, missing(ref, err)
	}
	defer store.Close()
	dir, remove, err := c.scratch()
	if err != nil {
		return nil, nil, fmt.Errorf("submit: %w", err)
	}
	defer func() {
		if err != nil {
			remove()
		}
	}()
	name := filepath.Join(dir, "bundle.json")
	if _, err := bundle.ParseFilesKey(key); err == nil {
		name = filepath.Join(dir, filepath.FromSlash(key))
	}
	if err := os.Mkdir(filepath.Join(dir, "files"), 0o700); err != nil {
		return nil, nil, fmt.Errorf("submit: %w", err)
	}
	if err := store.Get(ctx, key, name, &storage.GetOptions{SHA256: digest}); err != nil {
		return nil, nil, missing(ref, err)
	}
	b, err := bundle.Open(name)
	if err != nil {
		return nil, nil, fmt.Errorf("%q: %w", ref, err)
	}
	if b.Document != nil && b.ArchivePath != "" {
		if err := store.Get(ctx, b.Document.FilesKey, b.ArchivePath, nil); err != nil {
			return nil, nil, missing(ref, err)
		}
	}
	if b.ProgramPath != "" {
		if err := os.Mkdir(filepath.Dir(b.ProgramPath), 0o700); err != nil {
			return nil, nil, fmt.Errorf("submit: %w", err)
		}
		if err := store.Get(ctx, b.Document.Flowship.Program.Key, b.ProgramPath, nil); err != nil {
			return nil, nil, missing(ref, err)
		}
	}
	return b, remove, nil
}

// scratch is a temporary directory, at home if there is one.
func (c *Client) scratch() (dir string, remove func(), err error) {
	if _, err := os.Stat(c.state); err == nil {
		return c.temporary()
	}
	dir, err = os.MkdirTemp("", "flowship-")
	return dir, func() { os.RemoveAll(dir) }, err
}

// missing gives an error of the store the kind that the CLI knows.
func missing(ref string, err error) error {
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return &bundle.Error{Kind: bundle.KindNotFound, Path: ref, Err: err}
	case errors.Is(err, storage.ErrDigest):
		return &bundle.Error{Kind: bundle.KindTampered, Path: ref, Reason: "the stored document is not the one that was submitted", Err: err}
	}
	return fmt.Errorf("submit: %w", err)
}
