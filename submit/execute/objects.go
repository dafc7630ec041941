package execute

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
)

// EnvSigned is the environment variable that hands an executor its [Signed], as JSON. What it
// holds is secret: no program that is run finds it.
const EnvSigned = "FLOWSHIP_SIGNED"

// Signed are the URLs of the objects that one run needs, each good for one thing for a while:
// whoever has them needs no credentials for the stores. They are secrets.
type Signed struct {
	Get map[string]string `json:"get"` // by key: the document, the sidecar, the program
	Put map[string]string `json:"put"` // by key: the record
}

// ParseSigned reads the value of [EnvSigned]. Errors do not repeat it.
func ParseSigned(text string) (*Signed, error) {
	s := &Signed{}
	if err := json.Unmarshal([]byte(text), s); err != nil {
		return nil, fmt.Errorf("execute: the variable %s is not what a launcher puts there", EnvSigned)
	}
	return s, nil
}

// objects are a run's objects, wherever they are.
type objects interface {
	// get writes an object to a file; one of another digest, unless that is zero, is
	// storage.ErrDigest.
	get(ctx context.Context, key, path string, digest bundle.Digest) error
	// put stores a record, in the place of an earlier one.
	put(ctx context.Context, key string, content []byte) error
	close() error
}

// openObjects opens the store at url, with a place of its own for the record.
func (x *execution) openObjects(ctx context.Context, url string) error {
	if x.Signed != nil {
		x.objects = &signedObjects{x.Signed, x.Storage}
		return nil
	}
	if strings.HasPrefix(url, RegistryScheme) {
		return x.openRegistry(url)
	}
	store, err := storage.Open(ctx, url, x.Storage)
	if err != nil {
		return err
	}
	o := &storedObjects{bundles: store}
	if x.Results != "" && x.Results != url {
		o.records = &recordStore{x.Results, x.Storage}
	}
	x.objects = o
	return nil
}

// recorder is where the record goes, or nil where there is no place for it.
func (x *execution) recorder() putRecord {
	switch {
	case x.objects != nil:
		return x.objects.put
	case x.Results != "":
		return (&recordStore{x.Results, x.Storage}).put
	}
	return nil
}

// storedObjects are in stores that the executor has credentials for.
type storedObjects struct {
	bundles *storage.Store
	records *recordStore // nil: the record goes beside the bundle
}

func (o *storedObjects) get(ctx context.Context, key, path string, digest bundle.Digest) error {
	return o.bundles.Get(ctx, key, path, &storage.GetOptions{SHA256: digest})
}

func (o *storedObjects) put(ctx context.Context, key string, content []byte) error {
	if o.records != nil {
		return o.records.put(ctx, key, content)
	}
	return putInto(ctx, o.bundles, key, content)
}

func (o *storedObjects) close() error { return o.bundles.Close() }

// recordStore is a store of records, which is opened when there is one to be stored.
type recordStore struct {
	url  string
	open *storage.OpenOptions
}

func (r *recordStore) put(ctx context.Context, key string, content []byte) error {
	s, err := storage.Open(ctx, r.url, r.open)
	if err != nil {
		return err
	}
	defer s.Close()
	return putInto(ctx, s, key, content)
}

func putInto(ctx context.Context, s *storage.Store, key string, content []byte) error {
	_, err := s.Put(ctx, key, bytes.NewReader(content), putOptions(content))
	return err
}

func putOptions(content []byte) storage.PutOptions {
	return storage.PutOptions{Size: int64(len(content)), SHA256: sha256.Sum256(content), Replace: true}
}

// signedObjects are behind signed URLs.
type signedObjects struct {
	urls *Signed
	open *storage.OpenOptions
}

func (o *signedObjects) get(ctx context.Context, key, path string, digest bundle.Digest) error {
	object, err := o.object(o.urls.Get, "get", key)
	if err != nil {
		return err
	}
	return object.Get(ctx, path, &storage.GetOptions{SHA256: digest})
}

func (o *signedObjects) put(ctx context.Context, key string, content []byte) error {
	object, err := o.object(o.urls.Put, "put", key)
	if err != nil {
		return err
	}
	return object.Put(ctx, bytes.NewReader(content), putOptions(content))
}

func (o *signedObjects) close() error { return nil }

func (o *signedObjects) object(urls map[string]string, verb, key string) (*storage.Signed, error) {
	url, ok := urls[key]
	if !ok {
		return nil, fmt.Errorf("no signed URL to %s %q", verb, key)
	}
	return storage.OpenSigned(url, o.open)
}

// withoutSigned is the environment without what is not to be found in any program's.
func withoutSigned(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool { return strings.HasPrefix(v, EnvSigned+"=") })
}
