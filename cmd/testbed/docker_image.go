package main

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"strings"
)

// busyboxRoot is the archive of a file system with nothing but busybox under all of its names, and a stand-in for an executor, which says how
// it was called.
func busyboxRoot(ctx context.Context, busybox string) ([]byte, error) {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return nil, err
	}
	names, err := tool(ctx, nil, busybox, "--list")
	if err != nil {
		return nil, err
	}
	const users = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
	entries := []struct {
		header  tar.Header
		content []byte
	}{
		{tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, nil},
		{tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, nil},
		{tar.Header{Name: "root/", Typeflag: tar.TypeDir, Mode: 0o700}, nil},
		{tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil},
		{tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte(users)},
		{tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, program},
		{tar.Header{Name: "usr/local/bin/flowship", Typeflag: tar.TypeReg, Mode: 0o755}, []byte("#!/bin/sh\necho \"$0 $*\"\n")},
	}
	var root bytes.Buffer
	archive := tar.NewWriter(&root)
	for _, e := range entries {
		e.header.Size = int64(len(e.content))
		if err := archive.WriteHeader(&e.header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(e.content); err != nil {
			return nil, err
		}
	}
	for name := range strings.FieldsSeq(string(names)) {
		if name == "busybox" {
			continue
		}
		if err := archive.WriteHeader(&tar.Header{Name: "bin/" + name, Linkname: "busybox", Typeflag: tar.TypeSymlink, Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	return root.Bytes(), archive.Close()
}
