package submit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
)

// reachable is what the documents of a store name. It is learned by reading all of them.
type reachable struct {
	store     *storage.Store
	mu        sync.Mutex
	keys      map[string]bool
	read      map[string]storage.Object // documents and what may be one, as they were read
	documents int
}

// How many documents are read at once.
const readers = 8

// look lists the store, reads the documents that it has not read yet, and returns all objects.
// A document that cannot be read, or is none, is an error: what it names is not known.
func (r *reachable) look(ctx context.Context) ([]StoredObject, error) {
	objects, err := listAll(ctx, r.store)
	if err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, o := range objects {
		known, again := r.read[o.Key]
		if again && known.Size == o.Size && known.Modified.Equal(o.Modified) {
			continue
		}
		switch {
		case o.Kind == ObjectDocument:
			if !again {
				r.documents++
			}
			r.read[o.Key] = o.Object
			g.Go(func() error { return r.readDocument(ctx, o) })
		case o.Kind == ObjectOther && !isMark(o.Key):
			r.read[o.Key] = o.Object
			g.Go(func() error { return r.search(ctx, o) })
		}
	}
	return objects, g.Wait()
}

// listAll lists a store to its end. A folder in which something is deleted meanwhile is listed
// again: it cannot say what it has and what not.
func listAll(ctx context.Context, store *storage.Store) (objects []StoredObject, err error) {
	for range 100 {
		objects, err = objects[:0], nil
		for o, listErr := range store.List(ctx, "") {
			if err = listErr; err != nil {
				break
			}
			objects = append(objects, StoredObject{*o, kindOfKey(o.Key)})
		}
		if !errors.Is(err, storage.ErrNotFound) || !strings.HasPrefix(store.URL(), "file://") {
			break
		}
	}
	return objects, err
}

func (r *reachable) add(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[key] = true
}

// has reports whether a document names the key.
func (r *reachable) has(key string) bool { return r.keys[key] }

func (r *reachable) readDocument(ctx context.Context, o StoredObject) error {
	if o.Size == 0 {
		return &bundle.Error{Kind: bundle.KindTampered, Path: o.Key, Reason: "the document is empty"}
	}
	at, err := r.store.ReaderAt(ctx, o.Key, &storage.ReaderAtOptions{Size: o.Size})
	if err != nil {
		return err
	}
	d, _, err := readDocument(at)
	if errors.Is(err, storage.ErrNotFound) { // deleted since it was listed
		return nil
	}
	if err != nil {
		return fmt.Errorf("document %q: %w", o.Key, err)
	}
	if d.FilesKey != "" {
		r.add(d.FilesKey)
	}
	if d.Flowship != nil && d.Flowship.Program != nil {
		r.add(d.Flowship.Program.Key)
	}
	return nil
}

// named are the keys that a document may name.
var named = regexp.MustCompile(`files/[0-9a-f]{64}\.zip|programs/[0-9a-f]{64}`)

const longestNamed = len("programs/") + 64

// search takes every key in an object for named that might be a document under a key of its own:
// a JSON object, whatever is in it.
func (r *reachable) search(ctx context.Context, o StoredObject) error {
	if o.Size == 0 {
		return nil
	}
	at, err := r.store.ReaderAt(ctx, o.Key, &storage.ReaderAtOptions{Size: o.Size})
	if err != nil {
		return err
	}
	from := io.NewSectionReader(at, 0, o.Size)
	buf := make([]byte, 0, 64<<10)
	for first := true; ; first = false {
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if first && !bytes.HasPrefix(bytes.TrimLeft(buf, " \t\r\n"), []byte("{")) && err == nil {
			return nil
		}
		for _, key := range named.FindAllString(string(buf), -1) {
			r.add(key)
		}
		buf = buf[:copy(buf, buf[max(len(buf)-longestNamed, 0):])]
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, storage.ErrNotFound):
			return nil
		case err != nil:
			return err
		}
	}
}
