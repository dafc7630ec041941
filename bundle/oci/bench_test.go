package oci_test

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/flowship/flowship/bundle/oci"
)

func BenchmarkLayout(b *testing.B) {
	dir := b.TempDir()
	content := make([]byte, 100<<20)
	r := rand.NewChaCha8([32]byte{})
	for i := 0; i < len(content); i += 8192 { // about as compressible as programs are
		r.Read(content[i : i+3072])
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		pr, pw := io.Pipe()
		go func() {
			w := tar.NewWriter(pw)
			w.WriteHeader(&tar.Header{Name: "big", Mode: 0o644, Size: int64(len(content))})
			w.Write(content)
			pw.CloseWithError(w.Close())
		}()
		return pr, nil
	})
	if err != nil {
		b.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		b.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		b.Fatal(err)
	}
	cfg.OS, cfg.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		b.Fatal(err)
	}
	ref := tagOf(b, "base:1")
	p, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		b.Fatal(err)
	}
	if err := p.AppendImage(img); err != nil {
		b.Fatal(err)
	}
	if err := tarball.WriteToFile(filepath.Join(dir, "packed.tar"), ref, img); err != nil {
		b.Fatal(err)
	}
	writePlainTar(b, filepath.Join(dir, "plain.tar"), img)
	executor := filepath.Join(dir, "executor")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", executor, "../../cmd/flowship-executor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if said, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, said)
	}
	for _, base := range []string{"layout", "packed.tar", "plain.tar"} {
		b.Run(base, func(b *testing.B) {
			for n := 0; b.Loop(); n++ {
				img, err := oci.Build(b.Context(), &oci.BuildOptions{Base: filepath.Join(dir, base), Executor: func(context.Context, oci.Platform) (string, error) { return executor, nil }})
				if err != nil {
					b.Fatal(err)
				}
				to := filepath.Join(dir, fmt.Sprintf("out-%s-%d", base, n))
				if err := img.WriteLayout(b.Context(), to, "made:1"); err != nil {
					b.Fatal(err)
				}
				img.Close()
				b.StopTimer()
				os.RemoveAll(to)
				b.StartTimer()
			}
		})
	}
}
