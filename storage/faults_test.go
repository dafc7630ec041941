package storage_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/storage"
)

// everyCloud runs a test on every real server, through a proxy.
func everyCloud(t *testing.T, patience time.Duration, test func(t *testing.T, s *storage.Store, p *proxy)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for server := range clouds {
		var s *storage.Store
		var p *proxy
		opened := make(chan struct{}) // before the next is: an environment variable leads there
		wg.Go(func() {
			t.Run(server, func(t *testing.T) {
				func() {
					defer close(opened)
					s, p = openProxied(t, server, patience)
				}()
				test(t, s, p)
			})
		})
		<-opened
	}
}

// patience is long enough for a busy machine. Where the store is never to answer, a short one
// will do.
const patience = 20 * time.Second

func patienceFor(want error) time.Duration {
	if errors.Is(want, storage.ErrUnavailable) {
		return 2 * time.Second
	}
	return patience
}

// get returns what Get wrote, and checks that it left nothing else.
func get(t *testing.T, s *storage.Store, key, want string) error {
	t.Helper()
	dir := t.TempDir()
	err := s.Get(t.Context(), key, filepath.Join(dir, "k"), &storage.GetOptions{SHA256: sha256.Sum256([]byte(want))})
	left := []string{}
	if err == nil {
		left = []string{"k"}
		if b, readErr := os.ReadFile(filepath.Join(dir, "k")); readErr != nil || string(b) != want {
			t.Errorf("got %d bytes (%v), want %d", len(b), readErr, len(want))
		}
	}
	if diff := cmp.Diff(left, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	return err
}

// A failure that passes is not seen; one that stays has its kind, and leaves nothing behind.
func TestUploadFaults(t *testing.T) {
	content := strings.Repeat("content ", 6<<10)
	for _, test := range []struct {
		name  string
		fault func() fault
		want  error
	}{
		{"500 once", times(1, sendsContent, answer(500, "InternalError")), nil},
		{"SlowDown once", times(1, sendsContent, answer(503, "SlowDown")), nil},
		{"429 once", times(1, sendsContent, answer(429, "TooManyRequests")), nil},
		{"cut once", times(1, sendsContent, cutUpload), nil},
		{"500", times(always, sendsContent, answer(500, "InternalError")), storage.ErrUnavailable},
		{"SlowDown", times(always, anyRequest, answer(503, "SlowDown")), storage.ErrUnavailable},
		{"cut", times(always, sendsContent, cutUpload), storage.ErrUnavailable},
		{"never answers", times(always, anyRequest, hang), storage.ErrUnavailable},
		{"403", times(always, sendsContent, answer(403, "AccessDenied")), storage.ErrUnauthorized},
		{"401", times(always, anyRequest, answer(401, "Unauthorized")), storage.ErrUnauthorized},
	} {
		t.Run(test.name, func(t *testing.T) {
			everyCloud(t, patienceFor(test.want), func(t *testing.T, s *storage.Store, p *proxy) {
				p.set(test.fault())
				stored, err := s.Put(t.Context(), "k", strings.NewReader(content), describe(content))
				p.set(nil)
				if !errors.Is(err, test.want) || stored != (test.want == nil) {
					t.Errorf("put: %v, %v; want %v", stored, err, test.want)
				}
				if err != nil && (strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), `put "k" in "`)) {
					t.Errorf("error %q", err)
				}
				if test.want == nil {
					if err := get(t, s, "k", content); err != nil {
						t.Error(err)
					}
				} else if diff := cmp.Diff([]string{}, keys(t, s, "")); diff != "" {
					t.Errorf("keys (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestDownloadFaults(t *testing.T) {
	large := make([]byte, 20<<20)
	rand.Read(large)
	for size, content := range map[string]string{"small": strings.Repeat("content ", 6<<10), "large": string(large)} {
		for _, test := range []struct {
			name  string
			fault func() fault
			want  error
		}{
			{"500 once", times(1, getsContent, answer(500, "InternalError")), nil},
			{"SlowDown once", times(1, getsContent, answer(503, "SlowDown")), nil},
			{"cut thrice", times(3, getsContent, cutDownload(30000)), nil},
			{"500", times(always, getsContent, answer(500, "InternalError")), storage.ErrUnavailable},
			{"cut", times(always, getsContent, cutDownload(0)), storage.ErrUnavailable},
			{"never answers", times(always, getsContent, hang), storage.ErrUnavailable},
			{"403", times(always, getsContent, answer(403, "AccessDenied")), storage.ErrUnauthorized},
			{"one byte changed", times(1, getsContent, flip), storage.ErrDigest},
		} {
			t.Run(size+"/"+test.name, func(t *testing.T) {
				everyCloud(t, patienceFor(test.want), func(t *testing.T, s *storage.Store, p *proxy) {
					if size == "large" && errors.Is(test.want, storage.ErrUnavailable) && test.name != "cut" {
						return // nothing new
					}
					put(t, s, "k", content)
					p.set(test.fault())
					if err := get(t, s, "k", content); !errors.Is(err, test.want) {
						t.Errorf("get: %v, want %v", err, test.want)
					}
				})
			})
		}
	}
}

func TestMissingBucket(t *testing.T) {
	for server := range clouds {
		t.Run(server, func(t *testing.T) {
			u := bucketURL(t, server)
			u.Host = "missing"
			s := open(t, u.String())
			for _, content := range []string{"small", strings.Repeat("large", 1<<20)} {
				_, err := s.Put(t.Context(), "k", strings.NewReader(content), describe(content))
				if !errors.Is(err, storage.ErrNotFound) || !strings.HasSuffix(err.Error(), "the bucket does not exist") {
					t.Errorf("put: %v", err)
				}
			}
			if err := get(t, s, "k", ""); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("get: %v", err)
			}
		})
	}
}

// What was checked need not be what is read: another object took its place in between.
func TestReplacedMeanwhile(t *testing.T) {
	first := strings.Repeat("first", 4<<20)
	for name, second := range map[string]string{"of the same size": strings.Repeat("other", 4<<20), "shorter": "short"} {
		t.Run(name, func(t *testing.T) {
			everyCloud(t, patience, func(t *testing.T, s *storage.Store, p *proxy) {
				put(t, s, "k", first)
				direct := open(t, s.URL())
				if _, err := s.Identify(t.Context(), "k"); err != nil {
					t.Fatal(err)
				}
				opts := describe(second)
				opts.Replace = true
				p.set(afterFirst(getsContent, before(func() {
					p.set(nil)
					if _, err := direct.Put(context.Background(), "k", strings.NewReader(second), opts); err != nil {
						t.Error(err)
					}
				})))
				if err := get(t, s, "k", first); !errors.Is(err, storage.ErrDigest) {
					t.Errorf("get: %v, want ErrDigest", err)
				}
			})
		})
	}
}

// Somebody else stores an object between the look and the upload.
func TestOvertaken(t *testing.T) {
	for _, size := range []int{100_000, 20 << 20} {
		mine := bytes.Repeat([]byte("x"), size)
		theirs := bytes.Clone(mine)
		theirs[size/2] = 'y'
		for want, other := range map[error][]byte{nil: mine, storage.ErrConflict: theirs} {
			everyCloud(t, patience, func(t *testing.T, s *storage.Store, p *proxy) {
				direct := open(t, s.URL())
				p.set(strikes(1, sendsContent, before(func() { p.set(nil); put(t, direct, "k", string(other)) })))
				stored, err := s.Put(t.Context(), "k", bytes.NewReader(mine), describe(string(mine)))
				if stored || !errors.Is(err, want) {
					t.Errorf("put %d bytes: %v, %v; want false, %v", size, stored, err, want)
				}
			})
		}
	}
}

// An object that is shorter than its key promises is neither taken for it nor used.
func TestTruncatedObject(t *testing.T) {
	content := strings.Repeat("content", 1000)
	everyCloud(t, patience, func(t *testing.T, s *storage.Store, _ *proxy) {
		if _, err := s.Put(t.Context(), "k", strings.NewReader(content[:1234]), storage.PutOptions{Size: 1234}); err != nil {
			t.Fatal(err)
		}
		if err := get(t, s, "k", content); !errors.Is(err, storage.ErrDigest) {
			t.Errorf("get: %v, want ErrDigest", err)
		}
		if _, err := s.Put(t.Context(), "k", strings.NewReader(content), describe(content)); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("put: %v, want ErrConflict", err)
		}
	})
}

// Requests cost time and money: what a store is asked is what has to be known.
func TestRequests(t *testing.T) {
	small, large := "small", strings.Repeat("large", 1<<20)
	everyCloud(t, patience, func(t *testing.T, s *storage.Store, p *proxy) {
		put(t, s, "there", large)
		session := 0
		if strings.HasPrefix(s.URL(), "gs:") {
			session = 1 // every upload opens one first
		}
		for name, test := range map[string]struct {
			most int
			do   func()
		}{
			"put a small object":               {1 + session, func() { put(t, s, "small", small) }},
			"put a large object that is there": {1, func() { put(t, s, "there", large) }},
			"put a large object":               {2 + session, func() { put(t, s, "large", large) }},
			"get an object":                    {1, func() { get(t, s, "there", large) }},
		} {
			p.set(nil)
			test.do()
			if asked := p.requests(); len(asked) < 1 || len(asked) > test.most {
				t.Errorf("%s: %d requests, want %d: %v", name, len(asked), test.most, asked)
			}
		}
	})
}
