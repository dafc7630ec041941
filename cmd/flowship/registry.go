package main

import (
	"bufio"
	"context"
	"os"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
	"github.com/flowship/flowship/submit"
)

// Bundles in container registries, for the commands that take references.

// openInRegistry fetches a bundle from a registry, as openBundle does from a store.
func openInRegistry(ctx context.Context, ref string) (*found, error) {
	dir, err := os.MkdirTemp("", "flowship-")
	if err != nil {
		return nil, err
	}
	b, err := oci.Fetch(ctx, ref, dir, nil)
	if err != nil {
		os.RemoveAll(dir)
		return nil, aboutRegistry(err)
	}
	return &found{Bundle: b, document: ref, close: func() { os.RemoveAll(dir) }}, nil
}

// contentsInRegistry returns what a bundle in a registry says of itself.
func contentsInRegistry(ctx context.Context, ref string) (*submit.Contents, error) {
	d, err := oci.Describe(ctx, ref, nil)
	if err != nil {
		return nil, aboutRegistry(err)
	}
	m := d.Document.Manifest()
	if m != nil {
		return &submit.Contents{Document: d.Document, Digest: d.Digest, Where: ref, ArchiveSize: d.ArchiveSize, Manifest: m}, nil
	}
	f, err := openInRegistry(ctx, ref) // only the sidecar tells
	if err != nil {
		return nil, err
	}
	defer f.close()
	contents, err := submit.ContentsOf(ctx, f.Bundle)
	if err == nil {
		contents.Where = ref
	}
	return contents, err
}

// onDisk fetches what lies in a registry, and returns references to compare.
func onDisk(ctx context.Context, refs ...string) (local []string, remove func(), err error) {
	var opened []*found
	remove = func() {
		for _, f := range opened {
			f.close()
		}
	}
	for _, ref := range refs {
		if oci.IsReference(ref) {
			f, err := openInRegistry(ctx, ref)
			if err != nil {
				remove()
				return nil, nil, err
			}
			opened = append(opened, f)
			ref = f.DocumentPath
		}
		local = append(local, ref)
	}
	return local, remove, nil
}

func pushToRegistry(ctx context.Context, c *console, dir, ref string) error {
	p := c.startProgress(stepVerbs["upload"], 0)
	defer p.stop()
	pushed, err := oci.Push(ctx, dir, ref, &oci.RegistryOptions{Progress: p.add})
	if err != nil {
		return aboutRegistry(err)
	}
	if !c.json {
		return c.print(func(w *bufio.Writer) { w.WriteString(pushed.Ref + "\n") })
	}
	return c.writeJSON(func(j *jsonWriter) {
		j.object(func() {
			j.member("ref", pushed.Ref)
			j.member("url", pushed.URL)
			j.member("key", pushed.Manifest)
			j.member("digest", pushed.Digest.String())
			j.member("files_key", orNull(pushed.FilesKey))
			j.member("uploaded_bytes", pushed.UploadedBytes)
			j.member("reused_bytes", pushed.ReusedBytes)
		})
	})
}

func pullFromRegistry(ctx context.Context, c *console, ref, dir string) (*bundle.Bundle, error) {
	p := c.startProgress("fetching", 0)
	defer p.stop()
	b, err := oci.Pull(ctx, ref, dir, &oci.RegistryOptions{Progress: p.add})
	if err != nil {
		return nil, aboutRegistry(err)
	}
	return b, nil
}
