package execute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
)

// prepare fetches the bundle, proves it and puts its files into the working directory.
func (x *execution) prepare(ctx context.Context) error {
	dir := filepath.Join(x.scratch, "bundle")
	// What was extracted is not needed a second time.
	defer os.RemoveAll(dir)
	b, err := x.fetchDocument(ctx, dir)
	if err != nil {
		return err
	}
	if err := x.check(); err != nil {
		return err
	}
	if b.Document.Flowship.Runtime == bundle.RuntimeGo {
		if err := x.fetchProgram(ctx); err != nil {
			return err
		}
	}
	if err := x.fetchSidecar(ctx, b); err != nil {
		return err
	}
	return x.extract(ctx, b)
}

// fetchDocument fetches the document into a new directory.
func (x *execution) fetchDocument(ctx context.Context, dir string) (*bundle.Bundle, error) {
	if err := os.MkdirAll(filepath.Join(dir, "files"), 0o700); err != nil {
		return nil, err
	}
	document := filepath.Join(dir, "bundle.json")
	if err := x.fetch(ctx, x.key, document, x.digest, "the stored document is not the one that was submitted"); err != nil {
		return nil, err
	}
	b, err := bundle.Open(document)
	if err != nil {
		return nil, err
	}
	x.document = b.Document
	return b, nil
}

// fetchSidecar fetches the sidecar, if there is one, beside the document. Of Prefect's own
// documents only its content is known, which is proven when it is extracted.
func (x *execution) fetchSidecar(ctx context.Context, b *bundle.Bundle) error {
	if b.ArchivePath == "" {
		return nil
	}
	var digest bundle.Digest
	if f := b.Document.Flowship; f != nil {
		digest = f.Archive.SHA256
	}
	return x.fetch(ctx, b.Document.FilesKey, b.ArchivePath, digest, "the stored sidecar is not the one that the document names")
}

func (x *execution) extract(ctx context.Context, b *bundle.Bundle) error {
	_, err := b.Extract(ctx, x.Dir, &bundle.ExtractOptions{Digest: x.digest, Warn: x.Warn})
	return err
}

func (x *execution) fetch(ctx context.Context, key, path string, digest bundle.Digest, otherwise string) error {
	err := x.objects.get(ctx, key, path, digest)
	if errors.Is(err, storage.ErrDigest) {
		return &bundle.Error{Kind: bundle.KindTampered, Path: key, Reason: otherwise, Err: err}
	}
	return err
}

// check refuses what this executor does not run, or cannot.
func (x *execution) check() error {
	if err := json.Unmarshal(x.document.FlowRun, &x.flowRun); err != nil {
		return x.refuse("its flow_run: " + err.Error())
	}
	if x.FlowRunID != "" && x.FlowRunID != x.flowRun.ID {
		return x.refuse(fmt.Sprintf("the document is of flow run %q, not %q", x.flowRun.ID, x.FlowRunID))
	}
	if x.flowRun.ID == "" {
		return x.refuse("its flow_run has no id")
	}
	x.FlowRunID = x.flowRun.ID
	f := x.document.Flowship
	switch {
	case f == nil:
		return x.refuse("the document is Prefect's own: it holds a pickled flow, which only Prefect can run")
	case f.Runtime == bundle.RuntimePython:
		return x.findPython()
	case f.Runtime == bundle.RuntimeGo:
		return x.checkProgram()
	}
	return nil
}

func (x *execution) refuse(reason string) error {
	return &bundle.Error{Kind: bundle.KindRefused, Path: x.key, Reason: reason}
}
