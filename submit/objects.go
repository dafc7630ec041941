package submit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
)

// ObjectKind says what an object of a store is, by its key.
type ObjectKind string

// The kinds of objects.
const (
	ObjectDocument ObjectKind = "document"
	ObjectSidecar  ObjectKind = "sidecar"
	ObjectProgram  ObjectKind = "program"
	ObjectResult   ObjectKind = "result"
	ObjectOther    ObjectKind = "other" // nothing of flowship's or Prefect's bundles, by its key
)

// StoredObject is an object of a store of bundles.
type StoredObject struct {
	storage.Object
	Kind ObjectKind
}

func kindOfKey(key string) ObjectKind {
	if _, err := bundle.ParseFilesKey(key); err == nil {
		return ObjectSidecar
	}
	if _, err := bundle.ParseProgramKey(key); err == nil {
		return ObjectProgram
	}
	if strings.HasPrefix(key, "results/") {
		return ObjectResult
	}
	// As submissions and Prefect write it; other forms of a UUID are other things' names.
	if id, err := uuid.Parse(key); err == nil && id.String() == key {
		return ObjectDocument
	}
	return ObjectOther
}

// Objects returns what is in the store at url, in the order of the keys. An empty url is that of
// the store in the state directory, which need not be there.
func (c *Client) Objects(ctx context.Context, url string) ([]StoredObject, error) {
	store, err := c.openListed(ctx, url)
	if err != nil || store == nil {
		return nil, err
	}
	defer store.Close()
	objects, err := listAll(ctx, store)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return slices.DeleteFunc(objects, func(o StoredObject) bool { return isMark(o.Key) }), nil
}

// openListed opens a store to see what is in it; nil is a state directory without one.
func (c *Client) openListed(ctx context.Context, url string) (*storage.Store, error) {
	own, err := c.OwnStoreURL()
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	if url == "" {
		url = own
	}
	store, err := c.openStored(ctx, url)
	if url == own && errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	return store, nil
}
