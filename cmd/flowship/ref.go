package main

import (
	"context"
	"os"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/bundle/oci"
	"github.com/flowship/flowship/submit"
)

// found is the bundle that a REF names.
type found struct {
	*bundle.Bundle
	document string // path or REF of the document; "" for a sidecar alone
	close    func()
}

// size returns how many bytes the files have, or 0 when the document does not say.
func (f *found) size() int64 {
	if f.Document == nil || f.Document.Manifest() == nil {
		return 0
	}
	return f.Document.Manifest().TotalSize()
}

// openBundle finds the bundle that ref names. The caller must close it.
func (c *console) openBundle(ctx context.Context, ref string) (*found, error) {
	if oci.IsReference(ref) {
		return openInRegistry(ctx, ref)
	}
	client, err := c.openClient(ctx)
	if err != nil {
		// Without a home there are no flow runs, but there may be files.
		b, err := bundle.Open(ref)
		if err != nil {
			return nil, err
		}
		return &found{Bundle: b, document: b.DocumentPath, close: func() {}}, nil
	}
	b, cleanup, err := client.OpenBundle(ctx, ref)
	if err != nil {
		client.Close()
		return nil, err
	}
	f := &found{Bundle: b, document: b.DocumentPath, close: func() {
		cleanup()
		client.Close()
	}}
	if _, err := os.Lstat(ref); err != nil && b.Document != nil {
		f.document = ref // it lies in a store, and here in a temporary directory
	}
	return f, nil
}

// readContents returns what the bundle that ref names says of itself.
func (c *console) readContents(ctx context.Context, ref string) (*submit.Contents, error) {
	if oci.IsReference(ref) {
		return contentsInRegistry(ctx, ref)
	}
	client, err := c.openClient(ctx)
	if err != nil {
		b, err := bundle.Open(ref) // as for openBundle
		if err != nil {
			return nil, err
		}
		return submit.ContentsOf(ctx, b)
	}
	defer client.Close()
	return client.Contents(ctx, ref)
}
