// Package bundle packs the files of a flow invocation, describes the invocation in a document,
// and proves later that nothing of it was changed.
//
// Packing goes through four steps, each a function:
//
//	c, err := bundle.Collect(ctx, "flows", []string{"config.yaml", "data/", "!data/tmp/"}, nil)
//	m, err := bundle.Hash(ctx, c, nil)             // the manifest and Prefect's own key
//	p, err := bundle.Pack(ctx, c, file, nil)       // the sidecar zip, and what was packed
//	d, err := bundle.NewDocument(invocation, p.Manifest, p.Archive)
//
// [Build] does all of it into a directory. [Open] reads a bundle back: from such a directory,
// a document or a sidecar alone. What it returns can be inspected, verified, compared and
// extracted; nothing is written or run before everything that can be verified was.
//
// Collect chooses files exactly as Prefect 3.8.8 does, and says for each file that it left out
// which rule did so ([Explain]). The key files/<digest>.zip is the one that Prefect would
// compute. Unlike Prefect, an error is an error: no file is left out in silence, a file that
// changes while it is read is detected and named, and the same tree makes the same bytes
// everywhere.
//
// FORMAT.md in this folder specifies document, digest and archive.
package bundle
