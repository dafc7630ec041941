// Package oci makes container images without a container engine, and keeps bundles in container
// registries.
//
// An image is a base with a layer that holds flowship's executor and, if asked, one that holds a
// bundle:
//
//	img, err := oci.Build(ctx, &oci.BuildOptions{Base: "python:3.13-slim", Bundle: b, Executor: find})
//	defer img.Close()
//	err = img.Push(ctx, "ghcr.io/acme/train:1", nil)
//
// The base comes from a registry, from an OCI layout on the disk or from a file of "docker save",
// or is [Scratch]. Of an index of several platforms, one image is made for each platform that is
// asked for. The same inputs make the same bytes: no time, no owner and no order of a directory
// gets into a layer. Layers of the base are neither unpacked nor compressed again; those of one in
// a registry are read only where the image goes elsewhere than into the same registry.
//
// # What is in an image
//
// The executor is the file [ExecutorPath]; entry point and environment stay the base's. With a
// bundle, the folder [StorePath] is a store with the bundle in it, which is a bundle directory as
// well; the entry point runs the executor on it and names the document's digest, so that the
// image's digest pins all that runs. The run's record is left in [StorePath]/results, to which
// everybody may write; the files of the bundle are extracted to [WorkPath].
//
// # Bundles in registries
//
// A bundle is an OCI artifact: an image manifest of the artifact type [ArtifactType], with the
// empty config and a layer for each object of the bundle, as it is in any store, under its key
// as title:
//
//	application/vnd.flowship.bundle.document.v1+json   bundle.json
//	application/vnd.flowship.bundle.files.v1+zip       files/<64 hex>.zip, if files travel
//	application/vnd.flowship.bundle.program.v1         programs/<64 hex>, of flows in Go
//
// So the digest of a layer is the SHA-256 that the document has of the object, and tools that
// know artifacts, as oras, pull a bundle directory. Nothing else is in the manifest, no time
// either: the same bundle has the same digest in every registry.
//
// Credentials are those that "docker login" left; registries on this machine are asked by plain
// HTTP.
package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/flowship/flowship/bundle"
)

// Errors that callers branch on; they come wrapped with what they are about. What is wrong with a
// bundle is a [bundle.Error].
var (
	// ErrNotFound: the registry has no such repository, tag or digest.
	ErrNotFound = errors.New("not found")
	// ErrUnauthorized: there are no credentials for the registry, or they do not allow it.
	ErrUnauthorized = errors.New("not authorized")
	// ErrUnavailable: the registry or the container engine did not answer, or broke off.
	ErrUnavailable = errors.New("not available")
)

// InvalidError is an input that cannot be meant: a name, a platform.
type InvalidError struct {
	What   string // "image", "platform"
	Text   string // as it was given
	Reason string
}

func (e *InvalidError) Error() string { return fmt.Sprintf("%s %q: %s", e.What, e.Text, e.Reason) }

// RegistryOptions say how registries are asked; nil is the default.
type RegistryOptions struct {
	// Transport, if not nil, does the requests.
	Transport http.RoundTripper
	// Patience is how long a registry may say and take nothing before it counts as not
	// available; 0 means 2 minutes.
	Patience time.Duration
	// Progress, if not nil, is told of further bytes that went or came.
	Progress func(bytes int64)
}

func (o *RegistryOptions) progress(n int64) {
	if o != nil && o.Progress != nil {
		o.Progress(n)
	}
}

func (o *RegistryOptions) remote(ctx context.Context) []remote.Option {
	p := &patient{next: remote.DefaultTransport, wait: defaultPatience}
	if o != nil && o.Transport != nil {
		p.next = o.Transport
	}
	if o != nil && o.Patience != 0 {
		p.wait = o.Patience
	}
	return []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("flowship"), remote.WithTransport(p)}
}

// registryError is what a registry said, or that it did not.
type registryError struct {
	kind error // nil where none fits
	text string
	err  error
}

func (e *registryError) Error() string {
	if e.kind == nil {
		return e.text
	}
	return e.kind.Error() + ": " + e.text
}

func (e *registryError) Unwrap() []error {
	if e.kind == nil {
		return []error{e.err}
	}
	return []error{e.kind, e.err}
}

// explain gives an error of the registry client its kind, and a text of one line.
func explain(err error) error {
	var said *transport.Error
	var explained *registryError
	switch {
	case err == nil, errors.As(err, &explained), bundle.KindOf(err) != "":
		return err
	case errors.Is(err, errSilent):
		return &registryError{ErrUnavailable, oneLine(err.Error()), err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &said):
		return &registryError{statusKind(said.StatusCode), answer(said), err}
	case cut(err):
		return &registryError{ErrUnavailable, oneLine(err.Error()), err}
	case strings.Contains(err.Error(), "credential"):
		return &registryError{ErrUnauthorized, oneLine(err.Error()), err}
	}
	return &registryError{nil, oneLine(err.Error()), err}
}

func statusKind(status int) error {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrUnauthorized
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		return ErrUnavailable
	}
	return nil
}

// answer is what a registry answered, without the request, which may have repeated a token.
func answer(e *transport.Error) string {
	text := fmt.Sprintf("the registry answered %d %s", e.StatusCode, http.StatusText(e.StatusCode))
	for _, d := range e.Errors {
		text += ", " + string(d.Code)
		if d.Message != "" {
			text += ": " + d.Message
		}
	}
	return oneLine(text)
}

// oneLine is a text from elsewhere in one line of bounded length.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 500 {
		text = strings.ToValidUTF8(text[:500], "") + "…"
	}
	return text
}

// cut reports whether err is that of a connection which was not made or broke off.
func cut(err error) bool {
	var network *net.OpError
	var request *url.Error
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPIPE) ||
		errors.As(err, &network) || errors.As(err, &request)
}

// withoutUser hides what stands before an @ in the place of a registry, where no name has any.
func withoutUser(text string) string {
	scheme, rest := "", text
	if i := strings.Index(text, "://"); i >= 0 {
		scheme, rest = text[:i+3], text[i+3:]
	}
	host, below, found := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 && found {
		return scheme + "…" + host[i:] + "/" + below
	}
	return text
}

// get asks a registry for what a name means.
func get(ctx context.Context, ref name.Reference, opts *RegistryOptions) (*remote.Descriptor, error) {
	d, err := remote.Get(ref, opts.remote(ctx)...)
	if err == nil {
		return d, nil
	}
	err = explain(err)
	said, ok := errors.AsType[*registryError](err)
	if _, digest := ref.(name.Digest); ok && digest && said.kind == nil {
		return nil, &bundle.Error{Kind: bundle.KindTampered, Path: ref.String(), Reason: "the registry sent something else", Err: err}
	}
	return nil, err
}
