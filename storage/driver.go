package storage

import (
	"context"
	"io"
	"iter"
	"net/url"
	"time"
)

// Opener opens the bucket at a URL, of which the query says the prefix of all keys; nil credentials
// are those of the environment.
type Opener func(ctx context.Context, url *url.URL, credentials *Credentials) (Bucket, error)

// Bucket is what a driver implements for its object store. It is safe for concurrent use. Errors
// that are a [DriverError] say what kind of failure they are; of others, the status and the code
// of the server's answer tell.
type Bucket interface {
	// Attributes describes an object.
	Attributes(ctx context.Context, key string) (*Attributes, error)
	// NewRangeReader opens length bytes of an object, or the rest of it if length is negative.
	NewRangeReader(ctx context.Context, key string, offset, length int64) (Reader, error)
	// Upload stores what r holds. When r fails or ctx ends, there is no object.
	Upload(ctx context.Context, key string, r io.Reader, opts *WriterOptions) error
	// List yields the objects whose keys start with prefix, in the order of their keys.
	List(ctx context.Context, prefix string) iter.Seq2[*Object, error]
	// Delete removes an object.
	Delete(ctx context.Context, key string) error
	// SignedURL returns a URL for one object and http.MethodGet or MethodPut.
	SignedURL(ctx context.Context, key, method string, expiry time.Duration) (string, error)
	// Exists reports whether there is such a bucket.
	Exists(ctx context.Context) (bool, error)
	Close() error
}

// Attributes are what a driver knows about an object.
type Attributes struct {
	Size     int64 // bytes
	ModTime  time.Time
	Metadata map[string]string // what was stored with it; nil where nothing can be
}

// Reader reads a part of an object, and knows of the whole its size in bytes and its time.
type Reader interface {
	io.ReadCloser
	Size() int64
	ModTime() time.Time
}

// WriterOptions say how an object is stored.
type WriterOptions struct {
	ContentType    string
	Metadata       map[string]string
	IfNotExist     bool // an object that is there is ErrConflict
	BufferSize     int  // of a part, in bytes
	MaxConcurrency int  // parts on their way at once
}

// DriverError is an error of a driver with its kind: ErrNotFound, ErrConflict, ErrUnauthorized,
// ErrUnavailable or ErrUnsigned.
type DriverError struct {
	Kind error
	Err  error
}

func (e *DriverError) Error() string { return e.Err.Error() }
func (e *DriverError) Unwrap() error { return e.Err }

// driverKind is the kind that the driver says, or nil.
func driverKind(err error) error {
	for err := range tree(err) {
		if e, ok := err.(*DriverError); ok {
			return e.Kind
		}
	}
	return nil
}
