package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// images times the making of an image on a base of 100 MB, twice each: the digest is the same.
func (y *yard) images(ctx context.Context) error {
	plain := filepath.Join(y.dir, "base.tar")
	if err := writeBase(plain); err != nil {
		return err
	}
	build := func(from, to string) (string, error) {
		if err := os.RemoveAll(to); err != nil {
			return "", err
		}
		code, stdout, stderr, err := y.command(ctx, y.flowship, "image", "build", "--base", from, "-t", "made:1", "--to-layout", to, "-o", "json", "-q")
		if err != nil || code != 0 {
			return "", fmt.Errorf("image build: exit code %d, %w\n%s", code, err, stderr)
		}
		var made struct{ Digest string }
		err = json.Unmarshal([]byte(stdout), &made)
		return made.Digest, err
	}
	layout := filepath.Join(y.dir, "base-layout")
	if _, err := build(plain, layout); err != nil { // a base as good as any, of compressed layers
		return err
	}
	for _, base := range []struct{ what, path string }{
		{"`image build` on 100 MB in a layout, to a layout", layout}, {"the same from a file of `docker save`, its layer not compressed", plain},
	} {
		var took []time.Duration
		digest := ""
		for range 6 {
			begin := time.Now()
			made, err := build(base.path, filepath.Join(y.dir, "made-layout"))
			if err != nil {
				return err
			}
			took = append(took, time.Since(begin))
			if digest != "" && made != digest {
				return fmt.Errorf("%s: built again it is %s, not %s", base.what, made, digest)
			}
			digest = made
		}
		y.alone(base.what, median(took[1:]), "the same digest each time")
	}
	return nil
}

// writeBase writes an image with one layer, as Docker writes it: not compressed.
func writeBase(path string) error {
	content := make([]byte, 100<<20)
	r := rand.NewChaCha8([32]byte{})
	for i := 0; i < len(content); i += 8192 { // about as compressible as programs are
		r.Read(content[i : i+3072])
	}
	var layer, out bytes.Buffer
	if err := tarOf(&layer, "program", content); err != nil {
		return err
	}
	config := fmt.Appendf(nil, `{"architecture":%q,"os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:%x"]}}`, runtime.GOARCH, sha256.Sum256(layer.Bytes()))
	manifest := []byte(`[{"Config":"config.json","RepoTags":["base:1"],"Layers":["0/layer.tar"]}]`)
	if err := tarOf(&out, "config.json", config, "0/layer.tar", layer.Bytes(), "manifest.json", manifest); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o600)
}

// tarOf writes names and contents.
func tarOf(to *bytes.Buffer, entries ...any) error {
	t := tar.NewWriter(to)
	for i := 0; i < len(entries); i += 2 {
		content := entries[i+1].([]byte)
		if err := t.WriteHeader(&tar.Header{Name: entries[i].(string), Mode: 0o644, Size: int64(len(content))}); err != nil {
			return err
		}
		if _, err := t.Write(content); err != nil {
			return err
		}
	}
	return t.Close()
}
