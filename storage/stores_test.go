package storage_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	_ "gocloud.dev/blob/azureblob"
	_ "gocloud.dev/blob/memblob"
	_ "gocloud.dev/blob/s3blob"

	"github.com/flowship/flowship/cmd/testbed/started"
	_ "github.com/flowship/flowship/storage/gcs"

	"github.com/flowship/flowship/storage"
)

// clouds are the servers that cmd/testbed starts, by the variable that names a bucket there.
var clouds = map[string]string{"s3": "FLOWSHIP_TEST_S3", "gcs": "FLOWSHIP_TEST_GCS", "azure": "FLOWSHIP_TEST_AZURE"}

// bucketURL returns the URL of an empty part of a bucket on a real server.
func bucketURL(t testing.TB, server string) *url.URL {
	t.Helper()
	u, err := url.Parse(started.Server(t, server, clouds[server]))
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + rand.Text()
	return u
}

// everyStore runs a test on an empty store of each kind.
func everyStore(t *testing.T, test func(t *testing.T, s *storage.Store)) {
	t.Run("folder", func(t *testing.T) { test(t, openFolder(t, filepath.Join(t.TempDir(), "new"))) })
	t.Run("memory", func(t *testing.T) { test(t, open(t, "mem://")) })
	for server := range clouds {
		t.Run(server, func(t *testing.T) { test(t, open(t, bucketURL(t, server).String())) })
	}
}

func TestStore(t *testing.T) {
	everyStore(t, func(t *testing.T, s *storage.Store) {
		ctx := t.Context()
		if !put(t, s, "files/ab.zip", "content") || !put(t, s, "doc", "other") || !put(t, s, "ünï +%20?#&=", "") {
			t.Error("a new object was not stored")
		}
		if put(t, s, "files/ab.zip", "content") {
			t.Error("an object that was there was stored again")
		}
		if diff := cmp.Diff([]string{"doc", "files/ab.zip", "ünï +%20?#&="}, keys(t, s, "")); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"files/ab.zip"}, keys(t, s, "files/")); diff != "" {
			t.Errorf("keys of files/ (-want +got):\n%s", diff)
		}
		o, err := s.Identify(ctx, "files/ab.zip")
		if err != nil || o.Size != 7 || o.SHA256 != sha256.Sum256([]byte("content")) {
			t.Errorf("identify: %+v, %v", o, err)
		}
		empty := filepath.Join(t.TempDir(), "empty")
		if err := s.Get(ctx, "ünï +%20?#&=", empty, &storage.GetOptions{SHA256: sha256.Sum256(nil)}); err != nil {
			t.Errorf("get an empty object: %v", err)
		}
		if b, err := s.ReadAll(ctx, "doc", 5); string(b) != "other" || err != nil {
			t.Errorf("read: %q, %v", b, err)
		}
		if _, err := s.ReadAll(ctx, "doc", 4); err == nil {
			t.Error("an object beyond the limit was read")
		}
		replaced := describe("longer than before")
		replaced.Replace = true
		if stored, err := s.Put(ctx, "doc", strings.NewReader("longer than before"), replaced); !stored || err != nil {
			t.Errorf("replace: %v, %v", stored, err)
		}
		if b, err := s.ReadAll(ctx, "doc", 100); string(b) != "longer than before" || err != nil {
			t.Errorf("read what was replaced: %q, %v", b, err)
		}
		if err := s.Delete(ctx, "doc"); err != nil {
			t.Error(err)
		}
		missing := map[string]error{}
		_, missing["stat"] = s.Stat(ctx, "doc")
		_, missing["identify"] = s.Identify(ctx, "doc")
		_, missing["read"] = s.ReadAll(ctx, "doc", 10)
		missing["delete"] = s.Delete(ctx, "doc")
		missing["get"] = s.Get(ctx, "doc", filepath.Join(t.TempDir(), "doc"), nil)
		for verb, err := range missing {
			if !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("%s: %v, want ErrNotFound", verb, err)
			}
		}
	})
}

// A large object travels in parts, both ways, and is put once even when several put it at once.
func TestLargeObject(t *testing.T) {
	content := make([]byte, 37<<20+11)
	rand.Read(content)
	what := storage.PutOptions{Size: int64(len(content)), SHA256: sha256.Sum256(content)}
	everyStore(t, func(t *testing.T, s *storage.Store) {
		var wg sync.WaitGroup
		var stored atomic.Int32
		for range 3 {
			wg.Go(func() {
				var sent int64
				opts := what
				opts.Progress = func(n int64) { sent += n }
				done, err := s.Put(t.Context(), "big", bytes.NewReader(content), opts)
				if err != nil {
					t.Error(err)
				}
				if done {
					stored.Add(1)
					if sent != what.Size {
						t.Errorf("progress says %d of %d bytes", sent, what.Size)
					}
				}
			})
		}
		wg.Wait()
		if n := stored.Load(); n < 1 {
			t.Errorf("stored %d times", n)
		}
		if stored, err := s.Put(t.Context(), "big", iotest.ErrReader(errors.New("was read")), what); stored || err != nil {
			t.Errorf("put again: %v, %v", stored, err)
		}
		path := filepath.Join(t.TempDir(), "big")
		var came int64
		err := s.Get(t.Context(), "big", path, &storage.GetOptions{SHA256: what.SHA256, Progress: func(n int64) { came += n }})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, content) || came != what.Size {
			t.Errorf("got %d bytes, progress %d, error %v; want %d", len(b), came, err, what.Size)
		}
	})
}

func TestPutConflict(t *testing.T) {
	large := strings.Repeat("large", 1<<20)
	everyStore(t, func(t *testing.T, s *storage.Store) {
		put(t, s, "k", "content")
		for _, content := range []string{"conteNt", "longer content", large} {
			_, err := s.Put(t.Context(), "k", strings.NewReader(content), describe(content))
			if len(content) == 7 && err == nil && strings.HasPrefix(s.URL(), "file:") {
				continue // a folder knows no digests
			}
			if !errors.Is(err, storage.ErrConflict) {
				t.Errorf("put %d bytes: %v, want ErrConflict", len(content), err)
			}
		}
	})
}

// A source that breaks, or a caller that gives up, leaves nothing in any store: neither an
// object that is cut short, nor the parts of one.
func TestPutBreaksOff(t *testing.T) {
	boom := errors.New("boom")
	for name, size := range map[string]int{"small": 4, "large": 30 << 20} {
		everyStore(t, func(t *testing.T, s *storage.Store) {
			t.Log(name)
			half := bytes.NewReader(make([]byte, size))
			broken := io.MultiReader(half, iotest.ErrReader(boom))
			if _, err := s.Put(t.Context(), "k", broken, storage.PutOptions{Size: int64(2 * size)}); !errors.Is(err, boom) {
				t.Errorf("error %v, want that of the source", err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			half.Reset(make([]byte, size))
			given := io.MultiReader(half, readerFunc(func([]byte) (int, error) { cancel(); return 0, io.EOF }))
			if _, err := s.Put(ctx, "k", given, storage.PutOptions{Size: int64(size)}); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want Canceled", err)
			}
			if diff := cmp.Diff([]string{}, keys(t, s, "")); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			if u, err := url.Parse(s.URL()); err == nil && u.Scheme == "file" {
				if diff := cmp.Diff([]string{}, files(t, filepath.FromSlash(u.Path))); diff != "" {
					t.Errorf("left behind (-want +got):\n%s", diff)
				}
			}
			if strings.HasPrefix(s.URL(), "s3:") {
				if diff := cmp.Diff([]string{}, unfinished(t, s)); diff != "" {
					t.Errorf("unfinished uploads (-want +got):\n%s", diff)
				}
			}
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
