package oci_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
)

func record(w http.ResponseWriter, r *http.Request, next http.Handler, change func([]byte) []byte) {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	body := change(rec.Body.Bytes())
	for name, values := range rec.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(rec.Code)
	w.Write(body)
}

func TestPullFails(t *testing.T) {
	dir, b := newBundle(t)
	other := newCommand(t, "true")
	flip := func(p []byte) []byte {
		p = bytes.Clone(p)
		p[len(p)/2] ^= 1
		return p
	}
	isBlob := func(r *http.Request, digest string) bool {
		return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/blobs/"+digest)
	}
	sidecar := b.Document.Flowship.Archive.SHA256.String()
	swap := func(change func(m map[string]any, layers []any)) func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				next.ServeHTTP(w, r)
				return
			}
			record(w, r, next, func(p []byte) []byte {
				var m map[string]any
				json.Unmarshal(p, &m)
				change(m, m["layers"].([]any))
				p, _ = json.Marshal(m)
				h, _, _ := v1.SHA256(bytes.NewReader(p))
				w.Header().Set("Docker-Content-Digest", h.String())
				return p
			})
			w.Header().Del("Docker-Content-Digest")
		}
	}
	for _, test := range []struct {
		name  string
		ref   string // "" for what was pushed
		fault func(w http.ResponseWriter, r *http.Request, next http.Handler)
		kind  bundle.Kind
		is    error
		text  string
	}{
		{name: "no such tag", ref: "a:2", kind: bundle.KindNotFound, is: oci.ErrNotFound},
		{name: "no such repository", ref: "b:1", kind: bundle.KindNotFound, is: oci.ErrNotFound},
		{name: "an image", ref: "image:1", kind: bundle.KindRefused, text: "is no bundle"},
		{name: "refused", is: oci.ErrUnauthorized, fault: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"errors": [{"code": "DENIED", "message": "not\nyours"}]}`)
		}, text: "DENIED: not yours"},
		{name: "asked for credentials", is: oci.ErrUnauthorized, fault: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}},
		{name: "another sidecar", kind: bundle.KindTampered, fault: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if isBlob(r, sidecar) {
				record(w, r, next, flip)
				return
			}
			next.ServeHTTP(w, r)
		}, text: "the registry sent something else"},
		{name: "a longer document", kind: bundle.KindTampered, fault: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if isBlob(r, b.Digest.String()) {
				record(w, r, next, func(p []byte) []byte { return append(p, ' ') })
				return
			}
			next.ServeHTTP(w, r)
		}, text: "the registry sent something else"},
		{name: "a shorter sidecar", kind: bundle.KindTampered, fault: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if isBlob(r, sidecar) {
				record(w, r, next, func(p []byte) []byte { return p[:len(p)-9] })
				return
			}
			next.ServeHTTP(w, r)
		}, text: "the registry sent something else"},
		{name: "another manifest for a digest", ref: "@", fault: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				record(w, r, next, func(p []byte) []byte { return append(p, ' ') })
				return
			}
			next.ServeHTTP(w, r)
		}, kind: bundle.KindTampered},
		{name: "a manifest with the sidecar of another bundle", kind: bundle.KindTampered, fault: swap(func(_ map[string]any, layers []any) {
			layers[1].(map[string]any)["digest"] = other.Document.Flowship.Archive.SHA256.String()
		}), text: "the document sha256:"},
		{name: "a manifest without the sidecar", kind: bundle.KindTampered, fault: swap(func(m map[string]any, layers []any) { m["layers"] = layers[:1] }),
			text: "the manifest has no such layer"},
		{name: "a manifest with two documents", kind: bundle.KindRefused, fault: swap(func(m map[string]any, layers []any) { m["layers"] = append(layers, layers[0]) })},
		{name: "cut off", is: oci.ErrUnavailable, fault: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if isBlob(r, sidecar) {
				cutOff(w, r, next)
			}
			next.ServeHTTP(w, r)
		}},
		{name: "no reference", ref: "://", text: "want oci://REGISTRY"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServer(t)
			pushed, err := oci.Push(t.Context(), dir, "oci://"+s.host+"/a:1", nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(tagOf(t, s.host+"/image:1"), randomImage(t, amd64, 10, true)); err != nil {
				t.Fatal(err)
			}
			ref := pushed.URL
			switch {
			case test.ref == "@":
				ref = pushed.Ref
			case test.ref != "":
				ref = "oci://" + s.host + "/" + test.ref
			}
			s.breaks(test.fault)
			to := filepath.Join(t.TempDir(), "to")
			_, err = oci.Pull(t.Context(), ref, to, nil)
			if err == nil || bundle.KindOf(err) != test.kind || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v is of kind %q, want %q, %v, %q", err, bundle.KindOf(err), test.kind, test.is, test.text)
			}
			wantNothing(t, to)
		})
	}
}

func cutOff(w http.ResponseWriter, r *http.Request, next http.Handler) {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	for name, values := range rec.Header() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
	w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
	http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func TestPullAfterACut(t *testing.T) {
	s := newServer(t)
	dir, b := newBundle(t)
	ref := "oci://" + s.host + "/a:1"
	if _, err := oci.Push(t.Context(), dir, ref, nil); err != nil {
		t.Fatal(err)
	}
	var cuts atomic.Int32
	s.breaks(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, b.Document.Flowship.Archive.SHA256.Hex()) && cuts.Add(1) == 1 {
			cutOff(w, r, next)
		}
		next.ServeHTTP(w, r)
	})
	told := int64(0)
	if _, err := oci.Pull(t.Context(), ref, filepath.Join(t.TempDir(), "to"), &oci.RegistryOptions{Progress: func(n int64) { told += n }}); err != nil {
		t.Error(err)
	}
	if size := int64(len(read(t, b.DocumentPath)) + len(read(t, b.ArchivePath))); told != size {
		t.Errorf("%d bytes told, want %d", told, size)
	}
	if cuts.Load() < 2 {
		t.Error("nothing was cut")
	}
}

func TestPatience(t *testing.T) {
	dir, b := newBundle(t)
	sidecar := b.Document.Flowship.Archive.SHA256.Hex()
	for name, fault := range map[string]func(w http.ResponseWriter, r *http.Request, next http.Handler){
		"no answer": func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() },
		"half an answer": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if !strings.HasSuffix(r.URL.Path, sidecar) || r.Method != http.MethodGet {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Length", "100")
			w.Write(make([]byte, 50))
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			ref := "oci://" + s.host + "/a:1"
			if _, err := oci.Push(t.Context(), dir, ref, nil); err != nil {
				t.Fatal(err)
			}
			s.breaks(fault)
			to := filepath.Join(t.TempDir(), "to")
			_, err := oci.Pull(t.Context(), ref, to, &oci.RegistryOptions{Patience: 200 * time.Millisecond})
			if !errors.Is(err, oci.ErrUnavailable) || !strings.Contains(err.Error(), "it did not go on") {
				t.Errorf("%v", err)
			}
			wantNothing(t, to)
		})
	}
}

func TestPushFails(t *testing.T) {
	s := newServer(t)
	dir, b := newBundle(t)
	var invalid *oci.InvalidError
	for _, ref := range []string{"", "oci://", "oci://acme/train:1", "oci://" + s.host, "oci://" + s.host + "/UPPER:1", "s3://" + s.host + "/a:1",
		"oci://" + s.host + "/a@" + b.Digest.String(), "oci://user:secret@" + s.host + "/a:1"} {
		_, err := oci.Push(t.Context(), dir, ref, nil)
		if !errors.As(err, &invalid) {
			t.Errorf("%q: %v", ref, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error repeats a password: %v", err)
		}
	}
	sidecar := []byte(read(t, b.ArchivePath))
	sidecar[40] ^= 1
	if err := os.WriteFile(b.ArchivePath, sidecar, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := oci.Push(t.Context(), dir, "oci://"+s.host+"/a:1", nil); bundle.KindOf(err) != bundle.KindTampered {
		t.Errorf("a damaged bundle: %v", err)
	}
	if asked := s.requests("", ""); len(asked) > 0 {
		t.Errorf("asked %q", asked)
	}
	if _, err := oci.Push(t.Context(), b.ArchivePath, "oci://"+s.host+"/a:1", nil); bundle.KindOf(err) != bundle.KindRefused {
		t.Errorf("a sidecar alone: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	s := newServer(t)
	dir, _ := newBundle(t)
	s.breaks(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "S3CRET" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
	ref := "oci://" + s.host + "/a:1"
	for _, test := range []struct {
		auth string
		want error
	}{
		{"", oci.ErrUnauthorized},
		{`"auth": "bWU6V1JPTkc="`, oci.ErrUnauthorized}, // me:WRONG
		{`"username": "me", "password": "S3CRET"`, nil},
	} {
		home := t.TempDir()
		t.Setenv("DOCKER_CONFIG", home)
		if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(`{"auths": {"`+s.host+`": {`+test.auth+`}}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := oci.Push(t.Context(), dir, ref, nil)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.auth, err)
		}
		if err != nil && (strings.Contains(err.Error(), "WRONG") || strings.Contains(err.Error(), "bWU6")) {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}
