package execute

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
)

// RegistryScheme begins the URLs of bundles in container registries, "oci://ghcr.io/acme/train:1".
const RegistryScheme = "oci://"

// RegistryKey is the key of the document of every bundle in a registry.
const RegistryKey = "bundle.json"

// Registry fetches the bundle that a URL names into a directory, which is a store with the bundle
// in it then. A bundle that is not there is a [bundle.Error] of kind not found.
type Registry func(ctx context.Context, url, dir string) error

var errNoRegistry = errors.New("nothing here fetches bundles from registries")

// registryObjects are those of one bundle in a registry, which is fetched when the first of them is
// needed.
type registryObjects struct {
	fetch   Registry
	url     string
	dir     string
	store   *storage.Store // nil before
	records *recordStore   // nil: there is no place for the record
}

func (x *execution) openRegistry(url string) error {
	if x.Registry == nil {
		return errNoRegistry
	}
	o := &registryObjects{fetch: x.Registry, url: url, dir: filepath.Join(x.scratch, "registry")}
	if x.Results != "" {
		o.records = &recordStore{x.Results, x.Storage}
	}
	x.objects = o
	return nil
}

func (o *registryObjects) get(ctx context.Context, key, path string, digest bundle.Digest) error {
	if o.store == nil {
		if err := os.Mkdir(o.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := o.fetch(ctx, o.url, o.dir); err != nil {
			return err
		}
		url, err := storage.FolderURL(o.dir)
		if err != nil {
			return err
		}
		if o.store, err = storage.Open(ctx, url, nil); err != nil {
			return err
		}
	}
	return o.store.Get(ctx, key, path, &storage.GetOptions{SHA256: digest})
}

// put stores the record, if there is a place for it: a registry has none.
func (o *registryObjects) put(ctx context.Context, key string, content []byte) error {
	if o.records == nil {
		return nil
	}
	return o.records.put(ctx, key, content)
}

func (o *registryObjects) close() error {
	if o.store == nil {
		return nil
	}
	return o.store.Close()
}
