package submit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
	"github.com/flowship/flowship/submit/result"
)

// Errors about the result of a flow that Prefect ran; they come wrapped with what they are about.
var (
	// ErrNotPersisted: the state has no data, because the flow did not store what it returned.
	ErrNotPersisted = errors.New("the flow did not persist its result")
	// ErrResultElsewhere: the flow stored its result in a directory of the machine that it ran on,
	// which is not this one.
	ErrResultElsewhere = errors.New("the result is on the machine that ran the flow")
)

// blockReader gives a block document with its secrets, or orchestrator.ErrNotFound.
type blockReader interface {
	BlockDocumentByID(ctx context.Context, id string) (*prefect.Block, error)
}

// A state may be known before what it tells of can be read. Prefect's client tries as often.
const (
	resultAttempts = 10
	resultPause    = 250 * time.Millisecond
)

// fetchResult returns the result that the data of a final state hold or tell of. Errors are
// ErrNotPersisted, ErrResultElsewhere, storage.ErrNotFound, those of the store, and those of
// [result.Decode], beside which there is a value with the bytes.
func fetchResult(ctx context.Context, blocks blockReader, data json.RawMessage, open *storage.OpenOptions) (*result.Value, error) {
	m, ok := result.ParseMetadata(data)
	if !ok {
		if text := bytes.TrimSpace(data); len(text) == 0 || string(text) == "null" {
			return nil, ErrNotPersisted
		}
		return &result.Value{JSON: data, Raw: data}, nil
	}
	read, err := resultReader(ctx, blocks, m, open)
	if err != nil {
		return nil, err
	}
	defer read.close()
	stored, err := read.patiently(ctx)
	if err != nil {
		return nil, fmt.Errorf("result: %w", err)
	}
	return result.Decode(stored, m)
}

// storedResult reads one object.
type storedResult struct {
	read  func(ctx context.Context) ([]byte, error)
	close func() error
}

func (r *storedResult) patiently(ctx context.Context) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		b, err := r.read(ctx)
		if attempt == resultAttempts || !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) {
			return b, elsewhere(err)
		}
		pause := time.NewTimer(resultPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// elsewhere says of a file that is not here where it must be.
func elsewhere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrResultElsewhere, err)
	}
	return err
}

func resultReader(ctx context.Context, blocks blockReader, m *result.Metadata, open *storage.OpenOptions) (*storedResult, error) {
	if m.StorageKey == "" {
		return nil, errors.New("result: the state does not say where it is stored")
	}
	if m.StorageBlockID == "" {
		if !absolute(m.StorageKey) {
			return nil, fmt.Errorf("result: the state names no block in which %q is stored", m.StorageKey)
		}
		return localResult("", m.StorageKey)
	}
	block, err := blocks.BlockDocumentByID(ctx, m.StorageBlockID)
	if err != nil {
		return nil, fmt.Errorf("result: its block: %w", err)
	}
	read, err := blockResult(ctx, block, m.StorageKey, open)
	if err != nil {
		return nil, fmt.Errorf("result: block %q of type %q: %w", block.Name, block.Type, err)
	}
	return read, nil
}

func blockResult(ctx context.Context, block *prefect.Block, key string, open *storage.OpenOptions) (*storedResult, error) {
	if block.Type == "local-file-system" {
		var f struct{ Basepath *string }
		if err := fields(block.Data, &f); err != nil {
			return nil, err
		}
		base := "."
		if f.Basepath != nil && *f.Basepath != "" {
			base = *f.Basepath
		}
		return localResult(base, key)
	}
	place, err := placeOf(block, key, os.Getenv)
	if err != nil {
		return nil, err
	}
	opts := storage.OpenOptions{}
	if open != nil {
		opts = *open
	}
	opts.Create, opts.Credentials = false, place.credentials
	store, err := storage.Open(ctx, place.url, &opts)
	if err != nil {
		return nil, err
	}
	read := func(ctx context.Context) ([]byte, error) { return store.ReadAll(ctx, place.key, result.MaxStored) }
	return &storedResult{read: read, close: store.Close}, nil
}

// resultPlace is an object in a bucket, with what opens the bucket; nil credentials are those of
// the environment.
type resultPlace struct {
	url, key    string
	credentials *storage.Credentials
}

// placeOf reads a block of an object store. The key is the one in the metadata, which stands below
// the block's folder as the block itself would put it there.
func placeOf(block *prefect.Block, key string, getenv func(string) string) (p resultPlace, err error) {
	var f struct {
		Bucket         string          `json:"bucket"`
		BucketName     string          `json:"bucket_name"`
		BucketFolder   string          `json:"bucket_folder"`
		Container      string          `json:"container_name"`
		BaseFolder     string          `json:"base_folder"`
		Credentials    json.RawMessage `json:"credentials"`
		GCPCredentials json.RawMessage `json:"gcp_credentials"`
	}
	if err := fields(block.Data, &f); err != nil {
		return p, err
	}
	slug, name := block.Type, cmp.Or(f.Bucket, f.BucketName, f.Container)
	switch {
	case slug != "s3-bucket" && slug != "gcs-bucket" && slug != "azure-blob-storage-container":
		return p, errors.New("results in blocks of this type cannot be read here; there are s3-bucket, gcs-bucket, azure-blob-storage-container and local-file-system")
	case name == "":
		return p, errors.New("it does not name a bucket")
	}
	switch slug {
	case "s3-bucket":
		if p.credentials, err = s3Credentials(f.Credentials); err != nil {
			return p, err
		}
		if p.key = key; f.BucketFolder != "" && key != f.BucketFolder {
			p.key = below(strings.TrimRight(f.BucketFolder, "/")+"/", key)
		}
		if p.credentials == nil {
			p.url, err = s3URL(name, getenv)
		} else {
			p.url, err = bucketURL("s3", name, nil)
		}
	case "gcs-bucket":
		if hasFields(f.GCPCredentials) {
			if p.credentials, err = googleCredentials(f.GCPCredentials); err != nil {
				return p, fmt.Errorf("credentials: %w", err)
			}
		}
		if p.key = key; f.BucketFolder != "" {
			p.key = below(strings.TrimSuffix(f.BucketFolder, "/")+"/", key)
		}
		p.url, err = bucketURL("gs", name, nil)
	case "azure-blob-storage-container":
		if !hasFields(f.Credentials) {
			return p, errors.New("it has no credentials")
		}
		if p.credentials, err = azureCredentials(f.Credentials); err != nil {
			return p, fmt.Errorf("credentials: %w", err)
		}
		// This one puts its folder in front of any key.
		if p.key = key; f.BaseFolder != "" && !path.IsAbs(key) {
			p.key = path.Join(f.BaseFolder, key)
		}
		p.url, err = bucketURL("azblob", name, nil)
	}
	return p, err
}

// below puts the folder in front of a key that is not below it already.
func below(folder, key string) string {
	if strings.HasPrefix(key, folder) || path.IsAbs(key) {
		return key
	}
	return path.Join(folder, key)
}

// hasFields reports whether the field of a block holds a block.
func hasFields(block json.RawMessage) bool {
	text := string(bytes.TrimSpace(block))
	return text != "" && text != "null" && text != "{}"
}

// s3Credentials reads those of Amazon, or of MinIO, which a bucket may have alike. Nil are those
// of the environment.
func s3Credentials(data json.RawMessage) (*storage.Credentials, error) {
	if !hasFields(data) {
		return nil, nil
	}
	var minio struct {
		User     string `json:"minio_root_user"`
		Password string `json:"minio_root_password"`
	}
	err := fields(data, &minio)
	var c *storage.Credentials
	if err == nil {
		c, err = awsCredentials(data)
	}
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	if minio.User != "" {
		c.AWS.AccessKeyID, c.AWS.SecretAccessKey = minio.User, minio.Password
	}
	if *c.AWS == (storage.AWSCredentials{}) {
		return nil, nil
	}
	return c, nil
}

var drive = regexp.MustCompile(`^[A-Za-z]:[\\/]`)

// absolute reports whether a path is absolute on some system.
func absolute(name string) bool {
	return path.IsAbs(name) || filepath.IsAbs(name) || drive.MatchString(name) || strings.HasPrefix(name, `\\`)
}

// localResult reads a file below the directory base, or without one a file by its absolute path.
func localResult(base, key string) (*storedResult, error) {
	if absolute(key) && !filepath.IsAbs(key) || absolute(base) && !filepath.IsAbs(base) {
		return nil, fmt.Errorf("%w: %q is no path of this system", ErrResultElsewhere, path.Join(base, key))
	}
	if base == "" {
		base = filepath.Dir(key)
	}
	base, err := expandHome(base)
	if err != nil {
		return nil, err
	}
	if base, err = filepath.Abs(base); err != nil {
		return nil, err
	}
	name := key
	if filepath.IsAbs(key) {
		if name, err = filepath.Rel(base, key); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return nil, elsewhere(err)
	}
	return &storedResult{close: root.Close, read: func(context.Context) ([]byte, error) { return readBelow(root, name) }}, nil
}

// readBelow reads a file that no link leads out of the directory.
func readBelow(root *os.Root, name string) ([]byte, error) {
	if info, err := root.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", filepath.Join(root.Name(), name))
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, result.MaxStored+1))
	if err == nil && len(b) > result.MaxStored {
		err = fmt.Errorf("%q has more than %d bytes", f.Name(), result.MaxStored)
	}
	return b, err
}
