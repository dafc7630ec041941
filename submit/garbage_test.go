//go:build unix

package submit_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/storage/gocloud"
	"github.com/flowship/flowship/submit"
)

func open(t *testing.T, url string) *storage.Store {
	t.Helper()
	s, err := storage.Open(t.Context(), url, &storage.OpenOptions{Create: true, Openers: gocloud.Openers(nil)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s *storage.Store, key, content string) {
	t.Helper()
	opts := storage.PutOptions{Size: int64(len(content)), SHA256: sha256.Sum256([]byte(content)), Replace: true}
	if _, err := s.Put(t.Context(), key, strings.NewReader(content), opts); err != nil {
		t.Fatal(err)
	}
}

// objectsOf are the keys in the store by their kinds.
func objectsOf(t *testing.T, c *submit.Client, url string) map[submit.ObjectKind][]string {
	t.Helper()
	keys := map[submit.ObjectKind][]string{}
	objects, err := c.Objects(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		keys[o.Kind] = append(keys[o.Kind], o.Key)
	}
	return keys
}

func TestGarbage(t *testing.T) {
	stores := map[string]func(t *testing.T) string{
		"folder": func(t *testing.T) string { return "file://" + t.TempDir() },
		"s3":     func(t *testing.T) string { url, _ := metered(t); return url },
		"gcs":    func(t *testing.T) string { return newPrefix(serverURL(t, "gcs", "FLOWSHIP_TEST_GCS")) },
		"azure":  func(t *testing.T) string { return newPrefix(serverURL(t, "azure", "FLOWSHIP_TEST_AZURE")) },
	}
	for name, make := range stores {
		t.Run(name, func(t *testing.T) {
			url := make(t)
			c := newBed(t).client
			push := func(files map[string]string) *submit.Pushed {
				p, err := c.Push(t.Context(), build(t, files), url, nil)
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			named, forgotten := push(map[string]string{"a": "1"}), push(map[string]string{"a": "2"})
			searched := push(map[string]string{"a": "3"})
			store := open(t, url)
			for _, key := range []string{forgotten.Key, searched.Key} {
				if err := store.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
			// Documents may lie under other keys; what they might name stays. So does what is not ours.
			put(t, store, "my-bundle.json", ` {"files_key": "`+searched.FilesKey+`", …`)
			put(t, store, "notes.txt", forgotten.FilesKey)
			put(t, store, "files/notes.txt", "x")
			put(t, store, "results/x.json", "{}")
			program := "programs/" + strings.Repeat("1", 64)
			put(t, store, program, "x")

			found, err := c.Garbage(t.Context(), url, &submit.GarbageOptions{MinAge: time.Hour, Delete: true})
			if err != nil || len(found.Objects) != 0 || found.Young != 2 || found.Named != 2 || found.Documents != 1 {
				t.Errorf("young: %+v, %v", found, err)
			}
			before := objectsOf(t, c, url)
			want := []string{forgotten.FilesKey, program}
			for _, remove := range []bool{false, true} {
				found, err = c.Garbage(t.Context(), url, &submit.GarbageOptions{Delete: remove})
				var keys []string
				for _, o := range found.Objects {
					keys = append(keys, o.Key)
				}
				if diff := cmp.Diff(want, keys); err != nil || diff != "" {
					t.Errorf("delete %v: %v (-want +got):\n%s", remove, err, diff)
				}
				if !remove {
					if diff := cmp.Diff(before, objectsOf(t, c, url)); diff != "" {
						t.Errorf("a look changed the store (-before +after):\n%s", diff)
					}
				}
			}
			before[submit.ObjectSidecar] = slices.DeleteFunc(before[submit.ObjectSidecar], func(key string) bool { return key == forgotten.FilesKey })
			delete(before, submit.ObjectProgram)
			if diff := cmp.Diff(before, objectsOf(t, c, url)); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
			if _, err := c.Contents(t.Context(), submit.ObjectURL(url, named.Key)); err != nil {
				t.Error(err)
			}
		})
	}
}

// On doubt nothing is deleted.
func TestGarbageStops(t *testing.T) {
	for about, document := range map[string]string{"empty": "", "cut off": `{"function": "`, "of a later version": `{"function": "", "context": "", "flow_run": {}, "flowship": {"version": 2}}`} {
		t.Run(about, func(t *testing.T) {
			url := "file://" + t.TempDir()
			c, store := newBed(t).client, open(t, url)
			sidecar := bundle.FilesKey(sha256.Sum256(nil))
			put(t, store, sidecar, "x")
			put(t, store, "6f7d2c57-5d4e-5b0e-9c55-3a5d1c1d8f10", document)
			if _, err := c.Garbage(t.Context(), url, &submit.GarbageOptions{Delete: true}); err == nil || !strings.Contains(err.Error(), "6f7d2c57") {
				t.Errorf("error %v", err)
			}
			if _, err := store.Stat(t.Context(), sidecar); err != nil {
				t.Error(err)
			}
		})
	}
}

// A submission that finds its sidecar about to be deleted waits, and stores it again.
func TestSubmissionWaitsForDeletion(t *testing.T) {
	b := newBed(t)
	inv := submit.Invocation{Dir: tree(t, map[string]string{"a": "1"}), Include: []string{"a"}, Command: []string{"true"}}
	first, err := b.client.SubmitToWorkPool(t.Context(), inv)
	if err != nil {
		t.Fatal(err)
	}
	store, sidecar := open(t, first.Bundle.URL), *first.Bundle.FilesKey
	put(t, store, sidecar+".deleting", "x")
	done := make(chan error, 1)
	var second *submit.Run
	go func() {
		var err error
		second, err = b.client.SubmitToWorkPool(t.Context(), inv)
		done <- err
	}()
	eventually(t, "a second document", func() bool { return len(objectsOf(t, b.client, "")[submit.ObjectDocument]) == 2 })
	if err := store.Delete(t.Context(), sidecar); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	if err := store.Delete(t.Context(), sidecar+".deleting"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := store.Stat(t.Context(), sidecar); err != nil {
		t.Error(err)
	}
	want := []string{first.Bundle.Key, second.Bundle.Key}
	slices.Sort(want)
	if diff := cmp.Diff(want, objectsOf(t, b.client, "")[submit.ObjectDocument]); diff != "" || second.Bundle.ReusedBytes != 0 {
		t.Errorf("%+v; documents (-want +got):\n%s", second.Bundle, diff)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no %s", what)
		}
	}
}

// Whatever is collected while bundles are submitted and forgotten: every document that is left
// has its sidecar.
func TestGarbageWhileSubmitting(t *testing.T) {
	b := newBed(t)
	bases := []string{tree(t, map[string]string{"a": "1"}), tree(t, map[string]string{"a": "2"}), tree(t, map[string]string{"a": "3"})}
	ctx, stop := context.WithCancel(t.Context())
	collected, collector := 0, make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			found, err := b.client.Garbage(t.Context(), "", &submit.GarbageOptions{Delete: true})
			if err != nil {
				collector <- err
				return
			}
			collected += len(found.Objects)
		}
		collector <- nil
	}()
	var wg sync.WaitGroup
	const rounds = 25
	for n := range 4 {
		wg.Go(func() {
			for i := range rounds {
				run, err := b.client.SubmitToWorkPool(ctx, submit.Invocation{Dir: bases[n%3], Include: []string{"a"}, Command: []string{"true"}})
				if err != nil {
					t.Errorf("submit: %v", err)
					return
				}
				if _, err := b.client.Contents(ctx, submit.ObjectURL(run.Bundle.URL, run.Bundle.Key)); err != nil {
					t.Error(err)
				}
				if i < rounds-1 {
					if err := os.Remove(filepath.Join(b.home, "store", run.Bundle.Key)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	stop()
	if err := <-collector; err != nil {
		t.Fatal(err)
	}
	keys := objectsOf(t, b.client, "")
	if collected == 0 || len(keys[submit.ObjectDocument]) != 4 {
		t.Errorf("%d collected, %d documents left", collected, len(keys[submit.ObjectDocument]))
	}
	url, err := b.client.OwnStoreURL()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys[submit.ObjectDocument] {
		if _, err := b.client.Contents(t.Context(), submit.ObjectURL(url, key)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range b.stored(t) {
		if strings.HasSuffix(name, ".deleting") {
			t.Errorf("a mark is left: %s", name)
		}
	}
}

// A store that is not there is empty only at home.
func TestGarbageOfNothing(t *testing.T) {
	c := newBed(t).client
	if found, err := c.Garbage(t.Context(), "", nil); err != nil || !cmp.Equal(&submit.Garbage{}, found) {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := c.Garbage(t.Context(), "file:///no/such/store", nil); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}
