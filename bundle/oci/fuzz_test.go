package oci

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// FuzzManifest: whatever a registry sends, it is a bundle with one document or an error.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"artifactType": "` + ArtifactType + `", "layers": [{"mediaType": "` + string(mediaTypeDocument) + `", "size": 2,
		"digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}]}`))
	f.Add([]byte(`{"layers": [null]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		layers, err := parseManifest(text)
		if err != nil {
			return
		}
		for mediaType, l := range layers {
			if l.Size < 0 || l.Digest.Algorithm != "sha256" || len(l.Digest.Hex) != 64 || l.MediaType != mediaType {
				t.Errorf("%s: %+v", mediaType, l)
			}
		}
		if _, ok := layers[mediaTypeDocument]; !ok {
			t.Error("no document")
		}
	})
}

// FuzzReference: what is taken for a reference names a registry, and no credentials.
func FuzzReference(f *testing.F) {
	for _, ref := range []string{"oci://localhost/a", "oci://ghcr.io/acme/train:1", "oci://a.b/c@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
		"oci://u:p@a.b/c", "oci://a/b", "s3://a.b/c"} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := parseReference(text)
		if err != nil {
			return
		}
		again, err := parseReference(scheme + ref.Name())
		if err != nil || again.Name() != ref.Name() {
			t.Errorf("%q is %q, and that %v, %v", text, ref.Name(), again, err)
		}
	})
}

// FuzzTar: a file that shall be an image is one, or an error.
func FuzzTar(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range [][2]string{
		{"config.json", `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"]}}`},
		{"layer.tar", string(make([]byte, 1024))},
		{"manifest.json", `[{"Config":"config.json","RepoTags":["a:1"],"Layers":["layer.tar"]}]`},
	} {
		w.WriteHeader(&tar.Header{Name: e[0], Mode: 0o644, Size: int64(len(e[1]))})
		w.Write([]byte(e[1]))
	}
	w.Close()
	f.Add(b.Bytes())
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		file := filepath.Join(dir, "image.tar")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		img, err := Open(t.Context(), file)
		if err != nil {
			return
		}
		defer img.Close()
		img.WriteLayout(t.Context(), filepath.Join(dir, "out"), "a:1")
	})
}
