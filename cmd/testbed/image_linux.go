package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// imageVersion is of what makeImage makes.
const imageVersion = "2"

// makeImage makes an image with a shell, Python and Prefect, such as flows in Python run in, from those of this machine: no registry of
// images is needed for it.
func makeImage(ctx context.Context, p *place) ([]string, error) {
	python, err := p.prefectPython(ctx)
	if err != nil {
		return nil, err
	}
	busybox, err := p.busybox(ctx)
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256([]byte(imageVersion + python + busybox))
	dir, err := p.installed(ctx, fmt.Sprintf("image-%x", key[:8]), func(dir string) error {
		return writeImage(ctx, dir, python, busybox)
	})
	if err != nil {
		return nil, err
	}
	return []string{"FLOWSHIP_TEST_IMAGE=" + filepath.Join(dir, "layout")}, nil
}

// writeImage writes the image as an OCI layout.
func writeImage(ctx context.Context, dir, python, busybox string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, "layer.tar.gz")
	defer os.Remove(file)
	if err := writeLayer(ctx, file, python, busybox); err != nil {
		return err
	}
	layer, err := tarball.LayerFromFile(file)
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	made, err := image.ConfigFile()
	if err != nil {
		return err
	}
	config := made.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{
		Env:        []string{"PATH=" + filepath.Dir(python) + ":/usr/local/bin:/bin", "DO_NOT_TRACK=1", "PREFECT_SERVER_ANALYTICS_ENABLED=false"},
		Cmd:        []string{"sh"},
		WorkingDir: "/work",
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return err
	}
	index, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		return err
	}
	return index.AppendImage(image)
}

// unneeded are names, with what may follow, that flows do without: packages of other clouds, large ones that come with them, and tests.
var unneeded = regexp.MustCompile(`^(googleapiclient|google|grpc|azure|prefect_gcp|prefect_azure|pip|setuptools|idlelib|tkinter|turtledemo|ensurepip|lib2to3|test|tests|config-|uv)($|[-_.0-9])|\.(a|whl)$`)

// writeLayer writes the only layer: busybox, the interpreter and the environment at the paths that they have here, which they know, and
// the libraries that they are linked with.
func writeLayer(ctx context.Context, file, python, busybox string) (err error) {
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	l := &rootLayer{archive: tar.NewWriter(z), written: map[string]bool{}}
	root, err := busyboxRoot(ctx, busybox)
	if err != nil {
		return err
	}
	if err := l.addArchive(root); err != nil {
		return err
	}
	if err := l.addPython(ctx, python); err != nil {
		return err
	}
	return errors.Join(l.archive.Close(), z.Close())
}

// rootLayer is a layer with files of this machine at their own paths.
type rootLayer struct {
	archive *tar.Writer
	written map[string]bool
	linked  []string // programs and libraries, which need others
}

// addArchive takes over what is in an archive, but for the stand-in for an executor.
func (l *rootLayer) addArchive(root []byte) error {
	from := tar.NewReader(bytes.NewReader(root))
	for {
		h, err := from.Next()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(h.Name, "usr/local/"):
			continue
		case h.Name == "root/":
			h.Mode = 0o755 // the interpreter may be there, and other users need it as well
		}
		if err := l.archive.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(l.archive, from); err != nil {
			return err
		}
	}
}

// addPython adds an environment with its interpreter, its standard library and what they are linked with.
func (l *rootLayer) addPython(ctx context.Context, python string) error {
	out, err := tool(ctx, nil, python, "-c", "import json, sysconfig; print(json.dumps([sysconfig.get_path('stdlib'), sysconfig.get_path('platstdlib')]))")
	if err != nil {
		return err
	}
	var libraries []string
	if err := json.Unmarshal(out, &libraries); err != nil {
		return err
	}
	for program := python; ; {
		if err := l.add(program); err != nil {
			return err
		}
		target, err := os.Readlink(program)
		if err != nil { // the program itself
			l.linked = append(l.linked, program)
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(program), target)
		}
		program = target
	}
	for _, dir := range slices.Compact(append(libraries, filepath.Dir(filepath.Dir(python)))) {
		if err := l.addTree(ctx, dir, slices.Contains(libraries, dir)); err != nil {
			return err
		}
	}
	return l.addLinked(ctx)
}

// addTree adds a directory without what is unneeded; a standard library is without further packages.
func (l *rootLayer) addTree(ctx context.Context, dir string, standard bool) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch name := e.Name(); {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case path != dir && e.IsDir() && (unneeded.MatchString(name) || standard && (name == "site-packages" || name == "dist-packages")):
			return filepath.SkipDir
		case e.IsDir() || unneeded.MatchString(name) && !strings.HasSuffix(name, ".py"):
			return nil
		case strings.Contains(name, ".so"):
			l.linked = append(l.linked, path)
		}
		return l.add(path)
	})
}

// add adds one file or link, once.
func (l *rootLayer) add(path string) error {
	if l.written[path] {
		return nil
	}
	l.written[path] = true
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	header := &tar.Header{Name: strings.TrimPrefix(path, "/"), Mode: int64(info.Mode().Perm()), ModTime: info.ModTime()}
	if info.Mode()&fs.ModeSymlink != 0 {
		header.Typeflag = tar.TypeSymlink
		if header.Linkname, err = os.Readlink(path); err != nil {
			return err
		}
		return l.archive.WriteHeader(header)
	}
	return l.write(header, path)
}

// write writes a file's content under another name.
func (l *rootLayer) write(header *tar.Header, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	header.Typeflag, header.Size = tar.TypeReg, info.Size()
	if err := l.archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(l.archive, f)
	return err
}

var library = regexp.MustCompile(`^(?:.* => )?(/\S+) \(0x`)

// addLinked adds the shared libraries that the linker finds here.
func (l *rootLayer) addLinked(ctx context.Context) error {
	for some := range slices.Chunk(l.linked, 200) {
		out, err := tool(ctx, nil, "ldd", some...)
		if err != nil {
			return err
		}
		for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
			found := library.FindStringSubmatch(strings.TrimSpace(lines.Text()))
			if found == nil || l.written[found[1]] {
				continue
			}
			l.written[found[1]] = true
			// Links to it are not: it has the name by which it is sought.
			if err := l.write(&tar.Header{Name: strings.TrimPrefix(found[1], "/"), Mode: 0o755}, found[1]); err != nil {
				return err
			}
		}
	}
	return nil
}
