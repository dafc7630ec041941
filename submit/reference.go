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

// located is where a bundle is.
type located struct {
	ref      string
	path     string // of a bundle on the disk; "" for one in a store
	url, key string
	digest   bundle.Digest // of the document, where it is known
}

// locate finds what ref names: a path as [bundle.Open] takes it, the id of a flow run, or the URL
// of a document or sidecar in a store.
func (c *Client) locate(ctx context.Context, ref string) (*located, error) {
	if isURL(ref) {
		url, key, err := splitURL(ref)
		return &located{ref: ref, url: url, key: key}, err
	}
	id, notID := uuid.Parse(ref)
	if _, err := os.Stat(ref); notID != nil || err == nil {
		return &located{ref: ref, path: ref}, nil
	}
	run, err := c.flowRun(ctx, id.String())
	if errors.Is(err, orchestrator.ErrNotFound) {
		return nil, &bundle.Error{Kind: bundle.KindNotFound, Path: ref, Reason: "neither a path nor a flow run", Err: orchestrator.ErrNotFound}
	}
	if err != nil {
		return nil, err
	}
	if run.Bundle.Key == "" {
		return nil, fmt.Errorf("submit: flow run %q: %w", ref, ErrNoBundle)
	}
	digest, err := bundle.ParseDigest(run.Bundle.Digest)
	if err != nil {
		return nil, fmt.Errorf("submit: flow run %q: %w", ref, err)
	}
	return &located{ref: ref, url: run.Bundle.URL, key: run.Bundle.Key, digest: digest}, nil
}

// OpenBundle finds the bundle that ref names: a path as [bundle.Open] takes it, the id of a
// flow run, or the URL of a document or sidecar in a store, "s3://bucket/KEY". What is in a store
// is fetched, whole. The caller calls cleanup when done with it.
//
// What is not there is an error of kind not_found. A flow run's document that is not the one
// that was submitted is of kind tampered; anything else is left to [bundle.Bundle.Verify].
func (c *Client) OpenBundle(ctx context.Context, ref string) (b *bundle.Bundle, cleanup func(), err error) {
	at, err := c.locate(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	if at.path != "" {
		b, err := bundle.Open(at.path)
		return b, func() {}, err
	}
	dir, remove, err := c.scratch()
	if err != nil {
		return nil, nil, fmt.Errorf("submit: %w", err)
	}
	if b, err = c.fetch(ctx, at, dir); err != nil {
		remove()
		return nil, nil, err
	}
	return b, remove, nil
}

// flowRun looks a run up. Where there are no flow runs, it does not make a place for them.
func (c *Client) flowRun(ctx context.Context, id string) (*orchestrator.FlowRun, error) {
	if _, err := os.Stat(databasePath(c.state)); !c.onPrefect() && errors.Is(err, fs.ErrNotExist) {
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
// lies at the top of its store, a sidecar below files/. A query, which says how the store is
// reached, stays with the store; the URLs of folders have none.
func splitURL(ref string) (url, key string, err error) {
	scheme, rest, _ := strings.Cut(ref, "://")
	query := ""
	if scheme != "file" {
		if i := strings.IndexByte(rest, '?'); i >= 0 {
			rest, query = rest[:i], rest[i:]
		}
	}
	slash := strings.LastIndexByte(rest, '/')
	if slash < 0 || slash == len(rest)-1 {
		return "", "", &InvalidError{fmt.Sprintf("%q names a store, and no object in it: want %s", storage.Redact(ref), "STORE/KEY")}
	}
	top, key := rest[:slash], rest[slash+1:]
	if above, ok := strings.CutSuffix(top, "/files"); ok {
		if _, err := bundle.ParseFilesKey("files/" + key); err == nil {
			top, key = above, "files/"+key
		}
	}
	return scheme + "://" + top + query, key, nil
}

// ObjectURL is the URL of an object in the store at url, which [Client.OpenBundle] takes.
func ObjectURL(url, key string) string {
	query := ""
	if !strings.HasPrefix(url, "file://") {
		if i := strings.IndexByte(url, '?'); i >= 0 {
			url, query = url[:i], url[i:]
		}
	}
	return strings.TrimRight(url, "/") + "/" + key + query
}

// fetch copies a bundle from a store into an empty directory.
func (c *Client) fetch(ctx context.Context, at *located, dir string) (_ *bundle.Bundle, err error) {
	store, err := c.openStored(ctx, at.url)
	if err != nil {
		return nil, missing(at.ref, err)
	}
	defer store.Close()
	name := filepath.Join(dir, "bundle.json")
	if _, err := bundle.ParseFilesKey(at.key); err == nil {
		name = filepath.Join(dir, filepath.FromSlash(at.key))
		if err := os.Mkdir(filepath.Dir(name), 0o700); err != nil {
			return nil, fmt.Errorf("submit: %w", err)
		}
	}
	if err := store.Get(ctx, at.key, name, &storage.GetOptions{SHA256: at.digest, Sync: true}); err != nil {
		return nil, missing(at.ref, err)
	}
	b, err := bundle.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", at.ref, err)
	}
	if b.Document == nil {
		return b, nil
	}
	for path, key := range partsOf(b) {
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("submit: %w", err)
		}
		if err := store.Get(ctx, key, path, &storage.GetOptions{Sync: true}); err != nil {
			return nil, missing(at.ref, err)
		}
	}
	return b, nil
}

// partsOf are the keys of what a document names, by their paths beside it.
func partsOf(b *bundle.Bundle) map[string]string {
	parts := map[string]string{}
	if b.ArchivePath != "" {
		parts[b.ArchivePath] = b.Document.FilesKey
	}
	if b.ProgramPath != "" {
		parts[b.ProgramPath] = b.Document.Flowship.Program.Key
	}
	return parts
}

// openStored opens a store to read what is in it.
func (c *Client) openStored(ctx context.Context, url string) (*storage.Store, error) {
	return storage.Open(ctx, url, c.storage)
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
