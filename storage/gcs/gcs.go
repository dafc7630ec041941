// Package gcs is a driver of gocloud.dev/blob for Google Cloud Storage by its JSON API.
//
//	import _ "github.com/flowship/flowship/storage/gcs"
//	s, err := storage.Open(ctx, "gs://bucket/prefix", nil)
//
// The driver that comes with gocloud.dev works as well. It is not used because Google's client
// brings the gRPC API along, which it does not use there: 20 MB of program, and 20 MiB of memory in each
// process that is linked with it, a worker that has nothing to do included. What a store of
// bundles needs is a handful of requests, https://cloud.google.com/storage/docs/json_api.
//
// A request that was not answered, or with 408, 429 or 5xx, is made again as long as that changes
// nothing that was done: for half a minute, at growing intervals. Objects are written by
// resumable uploads, in pieces that are asked for again after a failure, and exist when the last
// piece is there. Copying is not supported.
package gcs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"

	"gocloud.dev/blob"
	"gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
	"gocloud.dev/gcp"
)

// Scheme of the URLs that the package opens.
const Scheme = "gs"

func init() { blob.DefaultURLMux().RegisterBucket(Scheme, &opener{}) }

// opener opens URLs with the default credentials, which it finds once.
type opener struct {
	once   sync.Once
	client *http.Client
	err    error
}

// OpenBucketURL implements [blob.BucketURLOpener]. The query may have anonymous=true, and what
// signs URLs: access_id, the email of a service account, and private_key_path, a PEM file.
func (o *opener) OpenBucketURL(ctx context.Context, u *url.URL) (*blob.Bucket, error) {
	client, opts := http.DefaultClient, &Options{}
	anonymous := false
	for name, values := range u.Query() {
		switch value := values[len(values)-1]; {
		case name == "anonymous" && (value == "true" || value == "false"):
			anonymous = value == "true"
		case name == "access_id":
			opts.Email = value
		case name == "private_key_path":
			key, err := os.ReadFile(value)
			if err != nil {
				return nil, fmt.Errorf("gcs: %w", err)
			}
			opts.PrivateKey = key
		default:
			return nil, fmt.Errorf("gcs: the query parameter %q is not known, or has no such value; there are anonymous=true, access_id and private_key_path", name)
		}
	}
	if !anonymous && emulator() == "" {
		o.once.Do(func() { o.client, o.err = defaultClient(context.WithoutCancel(ctx)) })
		if o.err != nil {
			return nil, o.err
		}
		client = o.client
	}
	b, err := OpenBucket(client, u.Host, opts)
	if err != nil {
		return nil, err
	}
	if prefix := strings.Trim(u.Path, "/"); prefix != "" {
		b = blob.PrefixedBucket(b, prefix+"/")
	}
	return b, nil
}

func defaultClient(ctx context.Context) (*http.Client, error) {
	found, err := gcp.DefaultCredentials(ctx)
	if err != nil {
		return nil, err
	}
	client, err := gcp.NewHTTPClient(gcp.DefaultTransport(), found.TokenSource)
	if err != nil {
		return nil, err
	}
	return &client.Client, nil
}

// emulator is where a stand-in for the service is, "http://127.0.0.1:4443", or "". Google's client
// for Python wants the variable with a scheme, the one for Go without.
func emulator() string {
	host := strings.TrimRight(os.Getenv("STORAGE_EMULATOR_HOST"), "/")
	if host != "" && !strings.Contains(host, "://") {
		host = "http://" + host
	}
	return host
}

// Options are the options of [OpenBucket]; nil is the default.
type Options struct {
	// Endpoint is the address of the service, without a path; "" is Google's, or what
	// STORAGE_EMULATOR_HOST names.
	Endpoint string
	// Email and PrivateKey (PEM) of a service account sign URLs. Without, SignedURL fails.
	Email      string
	PrivateKey []byte
}

// OpenBucket returns the bucket with this name. The client sees to the authorization of its
// requests.
func OpenBucket(client *http.Client, name string, opts *Options) (*blob.Bucket, error) {
	if name == "" {
		return nil, errors.New("gcs: the bucket has no name")
	}
	if opts == nil {
		opts = &Options{}
	}
	b := &bucket{client: client, name: name, endpoint: opts.Endpoint, opts: *opts}
	if b.endpoint == "" {
		b.endpoint = emulator()
	}
	if b.endpoint == "" {
		b.endpoint = "https://storage.googleapis.com"
	}
	return blob.NewBucket(b), nil
}

// bucket implements [driver.Bucket].
type bucket struct {
	client   *http.Client
	name     string
	endpoint string
	opts     Options
}

// object is the path of an object.
func (b *bucket) object(key string) string {
	return b.endpoint + "/storage/v1/b/" + url.PathEscape(b.name) + "/o/" + url.PathEscape(key)
}

func (b *bucket) objects() string {
	return b.endpoint + "/storage/v1/b/" + url.PathEscape(b.name) + "/o"
}

// Close implements [driver.Bucket].
func (b *bucket) Close() error { return nil }

// As implements [driver.Bucket]. There is nothing to be had.
func (b *bucket) As(any) bool { return false }

// ErrorAs implements [driver.Bucket].
func (b *bucket) ErrorAs(err error, target any) bool { return errors.As(err, target) }

// ErrorCode implements [driver.Bucket].
func (b *bucket) ErrorCode(err error) gcerrors.ErrorCode {
	if errors.Is(err, errNotSupported) {
		return gcerrors.Unimplemented
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return gcerrors.Unknown
	}
	switch e.StatusCode {
	case http.StatusBadRequest:
		return gcerrors.InvalidArgument
	case http.StatusUnauthorized, http.StatusForbidden:
		return gcerrors.PermissionDenied
	case http.StatusNotFound:
		return gcerrors.NotFound
	case http.StatusPreconditionFailed:
		return gcerrors.FailedPrecondition
	case http.StatusTooManyRequests:
		return gcerrors.ResourceExhausted
	}
	return gcerrors.Unknown
}

var errNotSupported = errors.New("gcs: not supported")

// Copy implements [driver.Bucket]; it is not supported.
func (b *bucket) Copy(context.Context, string, string, *driver.CopyOptions) error {
	return errNotSupported
}
