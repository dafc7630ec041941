package oci_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
)

// TestMain keeps the credentials of whoever runs the tests out of them.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "flowship-oci-")
		if err != nil {
			log.Fatal(err)
		}
		defer os.RemoveAll(dir)
		os.Setenv("DOCKER_CONFIG", dir)
		return m.Run()
	}())
}

// server is a registry, with a fault if one is set.
type server struct {
	host  string
	mu    sync.Mutex
	fault func(w http.ResponseWriter, r *http.Request, next http.Handler)
	asked []string
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	real := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.Method+" "+r.URL.Path)
		fault := s.fault
		s.mu.Unlock()
		if fault != nil {
			fault(w, r, real)
			return
		}
		real.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	s.host = strings.TrimPrefix(h.URL, "http://")
	return s
}

func (s *server) breaks(fault func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// requests returns what it was asked with a method and a part of the path, since the last call.
func (s *server) requests(method, part string) (found []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.asked {
		if strings.HasPrefix(a, method+" ") && strings.Contains(a, part) {
			found = append(found, a)
		}
	}
	s.asked = nil
	return found
}

// program writes a file that looks like a static program for the architecture.
func program(t *testing.T, machine uint16) string {
	t.Helper()
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	binary.Write(&b, binary.LittleEndian, struct {
		Type, Machine                           uint16
		Version                                 uint32
		Entry, Phoff, Shoff                     uint64
		Flags                                   uint32
		Ehsize, Phsize, Phnum, Shsize, Shnum, X uint16
	}{2, machine, 1, 0, 0, 0, 0, 64, 56, 0, 64, 0, 0})
	b.WriteString(strings.Repeat("program ", 1000))
	file := filepath.Join(t.TempDir(), "executor")
	if err := os.WriteFile(file, b.Bytes(), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

const (
	machineAMD64 = 62
	machineARM64 = 183
)

// finder finds programs for amd64 and arm64.
func finder(t *testing.T) func(context.Context, oci.Platform) (string, error) {
	amd64, arm64 := program(t, machineAMD64), program(t, machineARM64)
	return func(_ context.Context, p oci.Platform) (string, error) {
		if p.Arch == "arm64" {
			return arm64, nil
		}
		return amd64, nil
	}
}

// newBundle builds a bundle of a command with two files.
func newBundle(t *testing.T) (dir string, b *bundle.Bundle) {
	t.Helper()
	return buildBundle(t, map[string]string{"count.sh": "wc -l < data.csv\n", "data.csv": "a,b\n1,2\n"}, "sh", "count.sh")
}

// newCommand builds a bundle of another command with another file.
func newCommand(t *testing.T, argv ...string) *bundle.Bundle {
	t.Helper()
	_, b := buildBundle(t, map[string]string{"other": "other"}, argv...)
	return b
}

func buildBundle(t *testing.T, files map[string]string, argv ...string) (dir string, b *bundle.Bundle) {
	t.Helper()
	from, dir := t.TempDir(), t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := bundle.Collect(t.Context(), from, slices.Sorted(maps.Keys(files)), nil)
	if err != nil {
		t.Fatal(err)
	}
	inv := bundle.Invocation{Runtime: bundle.RuntimeExec, Command: argv}
	if _, err := bundle.Build(t.Context(), c, inv, dir, nil); err != nil {
		t.Fatal(err)
	}
	if b, err = bundle.Open(dir); err != nil {
		t.Fatal(err)
	}
	return dir, b
}

// file is what a tar holds under a name.
type file struct {
	Mode int64
	Dir  bool
	Text string
}

// untar reads the files of a layer.
func untar(t *testing.T, l v1.Layer) map[string]file {
	t.Helper()
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files := map[string]file{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 0 || h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
			t.Errorf("%s: time %v, owner %d:%d %q", h.Name, h.ModTime, h.Uid, h.Gid, h.Uname)
		}
		files[h.Name] = file{h.Mode, h.Typeflag == tar.TypeDir, string(text)}
	}
}

func tagOf(t testing.TB, text string) name.Tag {
	t.Helper()
	ref, err := name.NewTag(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wantNothing asserts that a directory is not there, nor anything unfinished beside it.
func wantNothing(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}
