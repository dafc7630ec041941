// Package gocloud opens stores with the drivers of gocloud.dev/blob: all that the program links in,
// by an import for its side effect.
//
//	import _ "gocloud.dev/blob/s3blob"
//
//	s, err := storage.Open(ctx, "s3://bucket", &storage.OpenOptions{Openers: gocloud.Openers(nil)})
//
// It is not a part of package storage because gocloud.dev brings gRPC and OpenTelemetry along.
package gocloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/flowship/flowship/storage"
)

// Opener opens the bucket at a URL, which has no prefix any more; nil credentials are those of the
// environment.
type Opener func(ctx context.Context, url *url.URL, credentials *storage.Credentials) (*blob.Bucket, error)

// Openers are what opens URLs of all drivers that are linked in. Those given take the place of the
// drivers' own, which take no credentials.
func Openers(given map[string]Opener) map[string]storage.Opener {
	openers := map[string]storage.Opener{}
	for _, scheme := range blob.DefaultURLMux().BucketSchemes() {
		openers[scheme] = openLinked
	}
	delete(openers, "file") // storage has its own
	for scheme, open := range given {
		openers[scheme] = open.open
	}
	return openers
}

func openLinked(ctx context.Context, u *url.URL, credentials *storage.Credentials) (storage.Bucket, error) {
	if credentials != nil {
		return nil, fmt.Errorf("credentials are given, and nothing here opens %q with any", u.Scheme+"://")
	}
	b, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, explain(err)
	}
	return &bucket{b}, nil
}

// open opens the bucket, and what is below the URL's prefix in it.
func (open Opener) open(ctx context.Context, u *url.URL, credentials *storage.Credentials) (storage.Bucket, error) {
	query := u.Query()
	prefix := query.Get("prefix")
	query.Del("prefix")
	bare := *u
	bare.RawQuery = query.Encode()
	b, err := open(ctx, &bare, credentials)
	if err != nil {
		return nil, explain(err)
	}
	if prefix != "" {
		b = blob.PrefixedBucket(b, prefix)
	}
	return &bucket{b}, nil
}

// bucket implements [storage.Bucket].
type bucket struct{ *blob.Bucket }

// Attributes implements [storage.Bucket].
func (b *bucket) Attributes(ctx context.Context, key string) (*storage.Attributes, error) {
	a, err := b.Bucket.Attributes(ctx, key)
	if err != nil {
		return nil, explain(err)
	}
	return &storage.Attributes{Size: a.Size, ModTime: a.ModTime, Metadata: a.Metadata}, nil
}

// NewRangeReader implements [storage.Bucket].
func (b *bucket) NewRangeReader(ctx context.Context, key string, offset, length int64) (storage.Reader, error) {
	r, err := b.Bucket.NewRangeReader(ctx, key, offset, length, nil)
	if err != nil {
		return nil, explain(err)
	}
	return &reader{r}, nil
}

// reader implements [storage.Reader].
type reader struct{ *blob.Reader }

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	return n, explain(err)
}

// Upload implements [storage.Bucket]. It does not go through a Writer: azureblob's panics when the
// upload fails early.
func (b *bucket) Upload(ctx context.Context, key string, r io.Reader, opts *storage.WriterOptions) error {
	return explain(b.Bucket.Upload(ctx, key, r, &blob.WriterOptions{
		ContentType: opts.ContentType, Metadata: opts.Metadata, IfNotExist: opts.IfNotExist, BufferSize: opts.BufferSize, MaxConcurrency: opts.MaxConcurrency,
	}))
}

// List implements [storage.Bucket].
func (b *bucket) List(ctx context.Context, prefix string) iter.Seq2[*storage.Object, error] {
	return func(yield func(*storage.Object, error) bool) {
		objects := b.Bucket.List(&blob.ListOptions{Prefix: prefix})
		for {
			o, err := objects.Next(ctx)
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(nil, explain(err))
				return
			case !yield(&storage.Object{Key: o.Key, Size: o.Size, Modified: o.ModTime}, nil):
				return
			}
		}
	}
}

// Delete implements [storage.Bucket].
func (b *bucket) Delete(ctx context.Context, key string) error {
	return explain(b.Bucket.Delete(ctx, key))
}

// SignedURL implements [storage.Bucket].
func (b *bucket) SignedURL(ctx context.Context, key, method string, expiry time.Duration) (string, error) {
	signed, err := b.Bucket.SignedURL(ctx, key, &blob.SignedURLOptions{Method: method, Expiry: expiry})
	// Azure's error has no code, and to name it would be to link its SDK in.
	if err != nil && strings.Contains(err.Error(), "SharedKeyCredential") {
		return "", &storage.DriverError{Kind: storage.ErrUnsigned, Err: said(err)}
	}
	return signed, explain(err)
}

// Exists implements [storage.Bucket].
func (b *bucket) Exists(ctx context.Context) (bool, error) {
	ok, err := b.Bucket.IsAccessible(ctx)
	return ok, explain(err)
}

// explain gives an error its kind, where gocloud.dev knows one.
func explain(err error) error {
	if err == nil {
		return nil
	}
	kinds := map[gcerrors.ErrorCode]error{
		gcerrors.NotFound:           storage.ErrNotFound,
		gcerrors.PermissionDenied:   storage.ErrUnauthorized,
		gcerrors.ResourceExhausted:  storage.ErrUnavailable,
		gcerrors.FailedPrecondition: storage.ErrConflict,
		gcerrors.Unimplemented:      storage.ErrUnsigned,
	}
	if kind := kinds[gcerrors.Code(err)]; kind != nil {
		return &storage.DriverError{Kind: kind, Err: said(err)}
	}
	return said(err)
}

// said is what the driver said, without the key and the code that gocloud.dev adds.
func said(err error) error {
	if e, ok := err.(interface{ Unwrap() []error }); ok && strings.HasPrefix(err.Error(), "blob (key ") && len(e.Unwrap()) > 0 {
		return e.Unwrap()[0]
	}
	return err
}
