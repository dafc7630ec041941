package submit

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowship/flowship/storage"
)

// Documents name sidecars and programs, which many of them share, so nobody who deletes a
// document can delete those. What no document names any more is garbage. The difficulty is a
// submission that has just found an old sidecar and is about to store a document that names it:
//
//   - Whoever deletes first stores a mark beside the object, then looks for new documents, and
//     only then deletes. It does so within [markHolds], or not at all, and removes the mark.
//   - Whoever stores a document then looks for the mark, and for the object. While there is a
//     mark it waits; when the object is gone, it begins anew.
//
// Either the first finds the document or the second finds the mark, for stores list what was
// stored before. So no document lacks its sidecar that flowship stored, or that it stored a sidecar
// for as the launcher of Prefect, whatever the least age is. Prefect's own uploads know nothing of
// marks: they store a sidecar again each time, which makes it young, but one that is stored in the
// moment between the last look and the deletion is lost. Who stores a document without being allowed
// to list the store cannot look, and relies on the age alone.

const (
	// markHolds is how long after its mark an object may be deleted.
	markHolds = time.Minute
	// markForgotten is when a mark is taken for one whose owner was killed.
	markForgotten = 2 * markHolds
	// batch is how many objects are marked at a time.
	batch = 50

	markSuffix = ".deleting"
)

func isMark(key string) bool { return strings.HasSuffix(key, markSuffix) }

// GarbageOptions are the options of [Client.Garbage]; nil is the default.
type GarbageOptions struct {
	// MinAge is the age below which an object is left alone, by the store's clock. It protects
	// what others than flowship are about to name.
	MinAge time.Duration
	// Delete deletes what was found.
	Delete bool
}

// Garbage is what no document of a store names.
type Garbage struct {
	Objects   []StoredObject // sidecars and programs; with Delete, those that were deleted
	Young     int            // not named either, but too young
	Named     int            // sidecars and programs that documents name
	Documents int
}

// Size returns the size of the objects in bytes.
func (g *Garbage) Size() int64 {
	n := int64(0)
	for _, o := range g.Objects {
		n += o.Size
	}
	return n
}

// Garbage looks for the sidecars and programs that no document of the store at url names, and
// deletes them if it is to. An empty url is that of the store in the state directory. When a
// document cannot be read, or is none, that is an error, and nothing is deleted.
func (c *Client) Garbage(ctx context.Context, url string, opts *GarbageOptions) (*Garbage, error) {
	if opts == nil {
		opts = &GarbageOptions{}
	}
	found := &Garbage{}
	store, err := c.openListed(ctx, url)
	if err != nil || store == nil {
		return found, err
	}
	defer store.Close()
	g := &collector{
		store: store, opts: opts, found: found,
		reachable: &reachable{store: store, keys: map[string]bool{}, read: map[string]storage.Object{}},
	}
	if err := g.collect(ctx); err != nil {
		return found, fmt.Errorf("submit: %w", err)
	}
	return found, nil
}

type collector struct {
	store     *storage.Store
	opts      *GarbageOptions
	found     *Garbage
	reachable *reachable
}

func (g *collector) collect(ctx context.Context) error {
	objects, err := g.reachable.look(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	if g.opts.Delete {
		if now, err = g.storeTime(ctx); err != nil {
			return err
		}
	}
	g.found.Documents = g.reachable.documents
	var candidates []StoredObject
	for _, o := range objects {
		old := now.Sub(o.Modified) >= g.opts.MinAge
		switch {
		case isMark(o.Key) && g.opts.Delete && now.Sub(o.Modified) > 5*markForgotten:
			// Its owner was killed.
			if err := g.store.Delete(ctx, o.Key); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return err
			}
		case o.Kind != ObjectSidecar && o.Kind != ObjectProgram:
		case g.reachable.has(o.Key):
			g.found.Named++
		case !old:
			g.found.Young++
		default:
			candidates = append(candidates, o)
		}
	}
	if !g.opts.Delete {
		g.found.Objects = candidates
		return nil
	}
	for some := range slices.Chunk(candidates, batch) {
		if err := g.delete(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// storeTime is the time by the store's clock.
func (g *collector) storeTime(ctx context.Context) (time.Time, error) {
	key := "gc-" + strings.ToLower(rand.Text()) + markSuffix
	if err := putMark(ctx, g.store, key); err != nil {
		return time.Time{}, err
	}
	defer g.store.Delete(context.WithoutCancel(ctx), key)
	o, err := g.store.Stat(ctx, key)
	if err != nil {
		return time.Time{}, err
	}
	return o.Modified, nil
}

// delete deletes those candidates that are still not named when they are marked.
func (g *collector) delete(ctx context.Context, candidates []StoredObject) error {
	var marked []StoredObject
	defer func() {
		for _, o := range marked {
			g.store.Delete(context.WithoutCancel(ctx), o.Key+markSuffix)
		}
	}()
	soon, cancel := context.WithTimeoutCause(ctx, markHolds, errors.New("it took too long to look for new documents"))
	defer cancel()
	for _, o := range candidates {
		err := putMark(soon, g.store, o.Key+markSuffix)
		if errors.Is(err, storage.ErrConflict) { // somebody else is about to
			continue
		}
		if err != nil {
			return err
		}
		marked = append(marked, o)
	}
	if _, err := g.reachable.look(soon); err != nil {
		return err
	}
	for _, o := range marked {
		if g.reachable.has(o.Key) {
			g.found.Named++
			continue
		}
		// It may have been stored again, to be named.
		switch now, err := g.store.Stat(soon, o.Key); {
		case errors.Is(err, storage.ErrNotFound):
			continue
		case err != nil:
			return err
		case now.Size != o.Size || now.Modified.Sub(o.Modified).Abs() > 2*time.Second: // listings round
			g.found.Young++
			continue
		}
		if err := g.store.Delete(soon, o.Key); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		g.found.Objects = append(g.found.Objects, o)
	}
	return nil
}

// putMark stores a mark, which is like no other: storage.ErrConflict when somebody has it.
func putMark(ctx context.Context, store *storage.Store, key string) error {
	text := []byte(rand.Text())
	stored, err := store.Put(ctx, key, bytes.NewReader(text), storage.PutOptions{Size: int64(len(text)), SHA256: sha256.Sum256(text)})
	if err == nil && !stored {
		err = storage.ErrConflict
	}
	return err
}

// kept reports whether the object is there after its document was stored, and will stay. It
// waits for whoever is about to delete it. Where it is not allowed to look, it takes it for kept.
func kept(ctx context.Context, store *storage.Store, key string) (bool, error) {
	forgotten := time.Now().Add(markForgotten)
	for {
		there, marked, err := state(ctx, store, key)
		switch {
		case errors.Is(err, storage.ErrUnauthorized):
			return true, nil
		case err != nil:
			return false, err
		case !marked:
			return there, nil
		}
		if time.Now().After(forgotten) {
			if err := store.Delete(ctx, key+markSuffix); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return false, err
			}
			continue
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// state looks for an object and for its mark, in one request where requests are dear.
func state(ctx context.Context, store *storage.Store, key string) (there, marked bool, err error) {
	if strings.HasPrefix(store.URL(), "file://") { // a listing would walk the whole folder
		if marked, err = exists(ctx, store, key+markSuffix); err == nil {
			there, err = exists(ctx, store, key)
		}
		return there, marked, err
	}
	for o, err := range store.List(ctx, key) {
		if err != nil {
			return false, false, err
		}
		there = there || o.Key == key
		marked = marked || o.Key == key+markSuffix
	}
	return there, marked, nil
}

func exists(ctx context.Context, store *storage.Store, key string) (bool, error) {
	_, err := store.Stat(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
