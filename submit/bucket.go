package submit

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/orchestrator"
)

// bucket is an open store of bundles.
type bucket struct {
	*storage.Store
	turns turns
}

// StoreURL returns the URL of the store where the bundles of the pool called name are, and the
// name of the credentials block that its storage is configured with, or "". The URL never holds
// a secret: what opens it finds its credentials in the environment. "" names the default pool.
func (c *Client) StoreURL(ctx context.Context, name string) (storeURL, credentials string, err error) {
	pool, err := c.workPool(ctx, name)
	if err != nil {
		return "", "", err
	}
	if storeURL, credentials, err = c.storeOf(pool); err != nil {
		return "", "", fmt.Errorf("submit: work pool %q: %w", pool.Name, err)
	}
	return storeURL, credentials, nil
}

// OwnStoreURL returns the URL of the store in the state directory.
func (c *Client) OwnStoreURL() (string, error) { return storage.FolderURL(c.path("store")) }

func (c *Client) storeOf(pool *orchestrator.WorkPool) (storeURL, credentials string, err error) {
	s, err := storageOf(pool)
	if err != nil {
		return "", "", err
	}
	if s == nil {
		storeURL, err = c.OwnStoreURL()
		return storeURL, "", err
	}
	steps := s.steps()
	if steps == nil {
		return "", "", fmt.Errorf("storage: %q is of no type of storage that is known here", s.module())
	}
	place := s.option(steps.place)
	if place == "" {
		return "", "", fmt.Errorf("storage: %q has no %s", s.module(), steps.place)
	}
	if steps.credentials != "" {
		credentials = s.option(steps.credentials)
	}
	switch named := c.onPrefect() && credentials != ""; {
	case named:
		storeURL, err = bucketURL(steps.scheme, place, url.Values{blockParameter: {credentials}})
	case steps.kind == StorageS3:
		storeURL, err = s3URL(place, os.Getenv)
	case steps.kind == StorageGCS:
		storeURL, err = bucketURL(steps.scheme, place, nil)
	case steps.kind == StorageAzure:
		storeURL, err = azureURL(place, os.Getenv)
	default:
		if !filepath.IsAbs(place) {
			return "", "", fmt.Errorf("storage: the path %q is not absolute", place)
		}
		storeURL, err = storage.FolderURL(place)
	}
	return storeURL, credentials, err
}

func (s *storageConfiguration) module() string {
	if s.Upload != nil {
		return s.Upload.Module
	}
	return s.Execution.Module
}

// s3URL takes another server than Amazon's from the environment, as boto3 does, and addresses
// its buckets by path, as boto3 does there. The URL says so, for those to whom it is handed on.
func s3URL(bucket string, getenv func(string) string) (string, error) {
	endpoint := cmp.Or(getenv("AWS_ENDPOINT_URL_S3"), getenv("AWS_ENDPOINT_URL"))
	if endpoint == "" || strings.EqualFold(getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), "true") {
		return bucketURL("s3", bucket, nil)
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.User != nil {
		// It is not repeated: it may hold a secret.
		return "", fmt.Errorf("the environment's AWS_ENDPOINT_URL is not a URL such as http://host:9000")
	}
	query := url.Values{"endpoint": {endpoint}, "use_path_style": {"true"}}
	if getenv("AWS_REGION") == "" && getenv("AWS_DEFAULT_REGION") == "" {
		query.Set("region", "us-east-1") // the server has none, but signatures name one
	}
	return bucketURL("s3", bucket, query)
}

// azureURL names the account and the server of the environment, if it does.
func azureURL(container string, getenv func(string) string) (string, error) {
	query := url.Values{}
	for _, p := range []struct{ name, variable string }{
		{"storage_account", "AZURE_STORAGE_ACCOUNT"},
		{"domain", "AZURE_STORAGE_DOMAIN"},
		{"protocol", "AZURE_STORAGE_PROTOCOL"},
		{"localemu", "AZURE_STORAGE_IS_LOCAL_EMULATOR"},
	} {
		if value := getenv(p.variable); value != "" {
			query.Set(p.name, value)
		}
	}
	return bucketURL("azblob", container, query)
}

// bucketURL refuses names that would become another part of the URL.
func bucketURL(scheme, bucket string, query url.Values) (string, error) {
	u := url.URL{Scheme: scheme, Host: bucket, RawQuery: query.Encode()}
	if again, err := url.Parse(u.String()); err != nil || again.Host != bucket || again.Path != "" || again.User != nil {
		return "", &InvalidError{fmt.Sprintf("%q is not the name of a bucket", bucket)}
	}
	return u.String(), nil
}

// openBucket returns the store of the pool's bundles.
func (c *Client) openBucket(ctx context.Context, pool *orchestrator.WorkPool) (*bucket, error) {
	storeURL, _, err := c.storeOf(pool)
	if err != nil {
		return nil, fmt.Errorf("submit: work pool %q: %w", pool.Name, err)
	}
	return c.openStore(ctx, storeURL)
}

// openStore opens a store once, and makes a folder if need be.
func (c *Client) openStore(ctx context.Context, storeURL string) (*bucket, error) {
	c.opening.Lock()
	defer c.opening.Unlock()
	if b := c.buckets[storeURL]; b != nil {
		return b, nil
	}
	opts := *c.storage
	opts.Create = true
	store, err := storage.Open(ctx, storeURL, &opts)
	if err != nil {
		return nil, fmt.Errorf("submit: %w", err)
	}
	b := &bucket{Store: store}
	c.buckets[storeURL] = b
	c.sweep(ctx, b)
	return b, nil
}

// stale is the age at which a temporary file or directory is taken for one whose owner was
// killed.
const stale = 24 * time.Hour

// sweep removes, once a day, what killed processes left in the store. Nothing depends on it.
func (c *Client) sweep(ctx context.Context, b *bucket) {
	note := c.path("swept")
	if own, err := c.OwnStoreURL(); err != nil || b.URL() != own {
		note = fmt.Sprintf("%s-%.8x", note, sha256.Sum256([]byte(b.URL())))
	}
	if info, err := os.Stat(note); err == nil && time.Since(info.ModTime()) < stale {
		return
	}
	if os.WriteFile(note, nil, 0o600) == nil {
		now := time.Now()
		os.Chtimes(note, now, now)
		b.Sweep(ctx, stale)
	}
}
