package storage_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/storage/gocloud"
)

// signedStores are those whose emulators check signatures.
var signedStores = []string{"s3", "azure"}

func signed(t *testing.T, s *storage.Store, key, method string, expiry time.Duration) *storage.Signed {
	t.Helper()
	u, err := s.Sign(t.Context(), key, method, expiry)
	if err != nil {
		t.Fatal(err)
	}
	o, err := storage.OpenSigned(u, &storage.OpenOptions{Patience: patience})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestSigned(t *testing.T) {
	content := strings.Repeat("content ", 100<<10)
	for _, server := range signedStores {
		t.Run(server, func(t *testing.T) {
			s, p := openProxied(t, server, patience)
			for size, content := range map[string]string{"empty": "", "large": content} {
				to := signed(t, s, size, http.MethodPut, time.Minute)
				if err := to.Put(t.Context(), strings.NewReader(content), describe(content)); err != nil {
					t.Fatal(err)
				}
				if err := to.Put(t.Context(), strings.NewReader(content), describe(content)); !errors.Is(err, storage.ErrConflict) {
					t.Errorf("put again: %v, want ErrConflict", err)
				}
			}
			from := signed(t, s, "large", http.MethodGet, time.Minute)
			path := filepath.Join(t.TempDir(), "k")
			for name, f := range map[string]func() fault{
				"nothing":  times(0, anyRequest, flip),
				"cut":      times(3, anyRequest, cutDownload(100_000)),
				"SlowDown": times(2, anyRequest, answer(503, "SlowDown")),
			} {
				p.set(f())
				if err := from.Get(t.Context(), path, &storage.GetOptions{SHA256: sha256.Sum256([]byte(content))}); err != nil {
					t.Errorf("get with %s: %v", name, err)
				}
			}
			p.set(times(1, anyRequest, flip)())
			if err := from.Get(t.Context(), path, &storage.GetOptions{SHA256: sha256.Sum256([]byte(content))}); !errors.Is(err, storage.ErrDigest) {
				t.Errorf("get what was changed: %v", err)
			}
			p.set(nil)
			if b, err := os.ReadFile(path); err != nil || string(b) != content {
				t.Errorf("file of %d bytes, %v", len(b), err)
			}
			if _, err := from.ReadAll(t.Context(), 10); err == nil || !strings.Contains(err.Error(), "more than 10") {
				t.Errorf("read: %v", err)
			}
			if b, err := from.ReadAll(t.Context(), 1<<20); string(b) != content || err != nil {
				t.Errorf("read %d bytes: %v", len(b), err)
			}
			if err := from.Put(t.Context(), strings.NewReader("x"), storage.PutOptions{Size: 1, Replace: true}); !errors.Is(err, storage.ErrUnauthorized) {
				t.Errorf("put with a URL to get: %v", err)
			}
			if _, err := signed(t, s, "missing", http.MethodGet, time.Minute).ReadAll(t.Context(), 1); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("missing: %v", err)
			}
			replace := describe(content)
			replace.Replace = true
			p.set(times(1, anyRequest, answer(503, "SlowDown"))())
			if err := signed(t, s, "empty", http.MethodPut, time.Minute).Put(t.Context(), strings.NewReader(content), replace); err != nil {
				t.Errorf("replace: %v", err)
			}
			boom := errors.New("boom")
			if err := signed(t, s, "broken", http.MethodPut, time.Minute).Put(t.Context(), io.MultiReader(strings.NewReader("half"), iotest.ErrReader(boom)), replace); !errors.Is(err, boom) {
				t.Errorf("broken source: %v", err)
			}
			if _, err := s.Stat(t.Context(), "broken"); !errors.Is(err, storage.ErrNotFound) {
				t.Errorf("of a broken source: %v", err)
			}
		})
	}
}

// A URL that is too old says so, and none of it is shown.
func TestSignedExpired(t *testing.T) {
	for _, server := range signedStores {
		t.Run(server, func(t *testing.T) {
			s := open(t, bucketURL(t, server).String())
			put(t, s, "k", "content")
			u, err := s.Sign(t.Context(), "k", http.MethodGet, time.Second)
			if err != nil {
				t.Fatal(err)
			}
			o, err := storage.OpenSigned(u, nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for err == nil {
				_, err = o.ReadAll(ctx, 10)
			}
			if !errors.Is(err, storage.ErrUnauthorized) || !strings.Contains(err.Error(), "the signed URL expired at 2") {
				t.Errorf("error %v", err)
			}
			query, _ := url.Parse(u)
			for _, name := range []string{"X-Amz-Signature", "X-Amz-Credential", "sig"} {
				if value := query.Query().Get(name); value != "" && strings.Contains(err.Error(), value) {
					t.Errorf("error %q shows %s", err, name)
				}
			}
		})
	}
}

// The emulator of Google's store checks nothing; what is signed for the real one shows in the URL.
func TestSignGoogle(t *testing.T) {
	u := bucketURL(t, "gcs")
	if _, err := open(t, u.String()).Sign(t.Context(), "k", http.MethodGet, time.Minute); !errors.Is(err, storage.ErrUnsigned) {
		t.Errorf("without a key: %v, want ErrUnsigned", err)
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}), 0o600); err != nil {
		t.Fatal(err)
	}
	u.RawQuery = url.Values{"access_id": {"me@project"}, "private_key_path": {path}}.Encode()
	got, err := open(t, u.String()).Sign(t.Context(), "k", http.MethodGet, time.Minute)
	if err != nil || !strings.Contains(got, "/bkt"+u.Path+"/k?") || !strings.Contains(got, "me%40project") || strings.Contains(storage.Redact(got), "me%40project") {
		t.Errorf("%q, %v", got, err)
	}
}

// Without the key of the account, nothing is signed.
func TestSignAzureWithoutKey(t *testing.T) {
	t.Setenv("AZURE_STORAGE_KEY", "")
	t.Setenv("AZURE_STORAGE_CONNECTION_STRING", "")
	service := azureblob.ServiceURLOptions{AccountName: "me", SASToken: "sv=2024-11-04&sig=S3CRET"}
	azure := &azureblob.URLOpener{MakeClient: azureblob.NewDefaultClient, ServiceURLOptions: service}
	s, err := storage.Open(t.Context(), "azblob://container", &storage.OpenOptions{Openers: gocloud.Openers(map[string]gocloud.Opener{
		"azblob": func(ctx context.Context, u *url.URL, _ *storage.Credentials) (*blob.Bucket, error) {
			return azure.OpenBucketURL(ctx, u)
		},
	})})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Sign(t.Context(), "k", http.MethodGet, time.Minute); !errors.Is(err, storage.ErrUnsigned) || strings.Contains(err.Error(), "S3CRET") {
		t.Errorf("error %v, want ErrUnsigned", err)
	}
}

func TestSignRefuses(t *testing.T) {
	s := openFolder(t, t.TempDir())
	if _, err := s.Sign(t.Context(), "k", http.MethodGet, time.Minute); !errors.Is(err, storage.ErrUnsigned) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := s.Sign(t.Context(), "k", http.MethodDelete, time.Minute); err == nil {
		t.Error("a URL to delete was signed")
	}
	for _, u := range []string{"", "file:///a", "https://", "s3://S3CRET", "https://%zz?S3CRET"} {
		if _, err := storage.OpenSigned(u, nil); err == nil || strings.Contains(err.Error(), "S3CRET") {
			t.Errorf("%q: %v", u, err)
		}
	}
}

// A server that does not answer is not there, whatever a signed URL says of credentials.
func TestSignedUnavailable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	o, err := storage.OpenSigned(server.URL+"/bkt/k?X-Amz-Credential=testbed", nil)
	if err != nil {
		t.Fatal(err)
	}
	once := iotest.OneByteReader(strings.NewReader("x")) // what cannot be read again is not sent again
	err = o.Put(t.Context(), once, storage.PutOptions{Size: 1, Replace: true})
	if !errors.Is(err, storage.ErrUnavailable) || errors.Is(err, storage.ErrUnauthorized) {
		t.Errorf("error %v, want that the store is not available", err)
	}
	if text := err.Error(); strings.Count(text, "://") != 1 || strings.Contains(text, "?") {
		t.Errorf("error %q: want the object's URL once, and without what signs it", text)
	}
}
