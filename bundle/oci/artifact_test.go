package oci_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
)

// tree reads the files of a directory.

func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files[strings.TrimPrefix(filepath.ToSlash(path), filepath.ToSlash(dir)+"/")] = read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestPushAndPull(t *testing.T) {
	s := newServer(t)
	dir, b := newBundle(t)
	ref := "oci://" + s.host + "/acme/train:1"
	var sent int64
	first, err := oci.Push(t.Context(), dir, ref, &oci.RegistryOptions{Progress: func(n int64) { sent += n }})
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(read(t, b.DocumentPath)) + len(read(t, b.ArchivePath)))
	want := &oci.Pushed{
		URL: ref, Ref: "oci://" + s.host + "/acme/train@" + first.Manifest, Manifest: first.Manifest,
		Digest: b.Digest, FilesKey: b.Document.FilesKey, UploadedBytes: size,
	}
	if diff := cmp.Diff(want, first); diff != "" || sent != size {
		t.Errorf("%s, %d of %d bytes told", diff, sent, size)
	}
	again, err := oci.Push(t.Context(), dir, strings.Replace(ref, ":1", ":2", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	want.URL, want.UploadedBytes, want.ReusedBytes = again.URL, 0, size
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("pushed again: %s", diff)
	}

	for _, from := range []string{ref, first.Ref} {
		to := filepath.Join(t.TempDir(), "below", "to")
		got, err := oci.Pull(t.Context(), from, to, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.Digest != b.Digest {
			t.Errorf("pulled %s", got.Digest)
		}
		if diff := cmp.Diff(tree(t, dir), tree(t, to)); diff != "" {
			t.Error(diff)
		}
		if _, err := oci.Pull(t.Context(), from, to, nil); bundle.KindOf(err) != bundle.KindConflict {
			t.Errorf("into a directory that is not empty: %v", err)
		}
	}
	s.requests("", "")
	d, err := oci.Describe(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d.Digest != b.Digest || d.ArchiveSize != int64(len(read(t, b.ArchivePath))) || len(d.Document.Flowship.Files) != 2 {
		t.Errorf("%+v", d)
	}
	if asked := s.requests("GET", "/blobs/"); len(asked) != 1 {
		t.Errorf("to describe it, it read %q", asked)
	}
}

// TestManifest holds the form that others may rely on.

func TestManifest(t *testing.T) {
	s := newServer(t)
	dir, b := newBundle(t)
	if _, err := oci.Push(t.Context(), dir, "oci://"+s.host+"/a:1", nil); err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(tagOf(t, s.host+"/a:1"))
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(d.Manifest, &got); err != nil {
		t.Fatal(err)
	}
	doc, _, _ := v1.SHA256(strings.NewReader(read(t, b.DocumentPath)))
	files := b.Document.Flowship.Archive
	text := `{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": "application/vnd.flowship.bundle.v1+json",
		"config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "size": 2},
		"layers": [
			{"mediaType": "application/vnd.flowship.bundle.document.v1+json", "digest": "` + doc.String() + `", "size": ` + strconv.Itoa(len(read(t, b.DocumentPath))) + `,
			 "annotations": {"org.opencontainers.image.title": "bundle.json"}},
			{"mediaType": "application/vnd.flowship.bundle.files.v1+zip", "digest": "` + files.SHA256.String() + `", "size": ` + strconv.FormatInt(files.Size, 10) + `,
			 "annotations": {"org.opencontainers.image.title": "` + b.Document.FilesKey + `"}}]}`
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestProgramTravels(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	c, err := bundle.Collect(t.Context(), t.TempDir(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	inv := bundle.Invocation{Runtime: bundle.RuntimeGo, Entrypoint: ":train", Program: &bundle.Program{OS: "linux", Arch: "arm64"}}
	if _, err := bundle.Build(t.Context(), c, inv, dir, &bundle.BuildOptions{Program: program(t, machineARM64)}); err != nil {
		t.Fatal(err)
	}
	if _, err := oci.Push(t.Context(), dir, "oci://"+s.host+"/a:1", nil); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "to")
	b, err := oci.Pull(t.Context(), "oci://"+s.host+"/a:1", to, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, dir), tree(t, to)); diff != "" {
		t.Error(diff)
	}
	img := built(t, &oci.BuildOptions{Base: oci.Scratch, Platforms: []oci.Platform{arm64}, Bundle: b, Executor: finder(t)})
	layers, err := onlyImage(t, laid(t, img)).Layers()
	if err != nil {
		t.Fatal(err)
	}
	key := "flowship/store/" + b.Document.Flowship.Program.Key
	if got := untar(t, layers[1])[key]; got.Mode != 0o755 || got.Text != read(t, b.ProgramPath) {
		t.Errorf("%s: mode %o, %d bytes", key, got.Mode, len(got.Text))
	}
	_, err = oci.Build(t.Context(), &oci.BuildOptions{Base: oci.Scratch, Platforms: []oci.Platform{amd64}, Bundle: b, Executor: finder(t)})
	if bundle.KindOf(err) != bundle.KindRefused {
		t.Errorf("for another architecture: %v", err)
	}
}

// record keeps what a handler answers, to be changed.

// cutOff sends half of an answer and closes the connection.

// A registry that does not go on is not waited for without end.

// TestCredentials logs in with what docker login left.
