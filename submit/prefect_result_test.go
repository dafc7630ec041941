package submit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
)

func TestPlaceOf(t *testing.T) {
	const aws, minio = `{"aws_access_key_id": "AK", "aws_secret_access_key": "s3cr3t", "aws_client_parameters": {"endpoint_url": "http://h:1"}}`,
		`{"block_type_slug": "minio-credentials", "minio_root_user": "AK", "minio_root_password": "s3cr3t", "region_name": null, "aws_client_parameters": {"endpoint_url": "http://h:1"}}`
	amazon := &storage.Credentials{AWS: &storage.AWSCredentials{AccessKeyID: "AK", SecretAccessKey: "s3cr3t", Endpoint: "http://h:1"}}
	azure := &storage.Credentials{Azure: &storage.AzureCredentials{ConnectionString: "AccountKey=s3cr3t"}}
	const account = `{"connection_string": "AccountKey=s3cr3t"}`
	for _, test := range []struct {
		name, slug, data, key string
		want                  resultPlace
		text                  string // of the error
	}{
		{"s3", "s3-bucket", `{"bucket_name": "b", "bucket_folder": "results", "credentials": ` + aws + `}`, "k", resultPlace{"s3://b", "results/k", amazon}, ""},
		{"s3 with MinIO", "s3-bucket", `{"bucket_name": "b", "bucket_folder": "", "credentials": ` + minio + `}`, "k", resultPlace{"s3://b", "k", amazon}, ""},
		{"s3 of the environment", "s3-bucket", `{"bucket_name": "b", "credentials": {"aws_access_key_id": null, "aws_client_parameters": {"verify": true}}}`, "k",
			resultPlace{url: "s3://b?endpoint=http%3A%2F%2Fe&region=us-east-1&use_path_style=true", key: "k"}, ""},
		{"s3, key in the folder", "s3-bucket", `{"bucket_name": "b", "bucket_folder": "a//b/", "credentials": ` + aws + `}`, "a//b/k", resultPlace{"s3://b", "a//b/k", amazon}, ""},
		{"s3, folder to be cleaned", "s3-bucket", `{"bucket_name": "b", "bucket_folder": "a//b/", "credentials": ` + aws + `}`, "k", resultPlace{"s3://b", "a/b/k", amazon}, ""},
		{"s3, key that begins like the folder", "s3-bucket", `{"bucket_name": "b", "bucket_folder": "a", "credentials": ` + aws + `}`, "ab", resultPlace{"s3://b", "a/ab", amazon}, ""},
		{"s3 without a bucket", "s3-bucket", `{"credentials": ` + aws + `}`, "k", resultPlace{}, "it does not name a bucket"},
		{"s3, another type", "s3-bucket", `{"bucket_name": "b", "credentials": {"minio_root_password": ["s3cr3t"]}}`, "k", resultPlace{}, `credentials: its field "minio_root_password" is not what it should be`},
		{"gcs", "gcs-bucket", `{"bucket": "b", "bucket_folder": "results/", "gcp_credentials": {"service_account_info": {"private_key": "s3cr3t"}}}`, "k",
			resultPlace{"gs://b", "results/k", &storage.Credentials{Google: &storage.GoogleCredentials{Key: []byte(`{"private_key": "s3cr3t"}`)}}}, ""},
		{"gcs of the environment", "gcs-bucket", `{"bucket": "b", "bucket_folder": "", "gcp_credentials": {"service_account_info": null, "project": null}}`, "k", resultPlace{url: "gs://b", key: "k"}, ""},
		{"azure", "azure-blob-storage-container", `{"container_name": "c", "base_folder": null, "credentials": ` + account + `}`, "k", resultPlace{"azblob://c", "k", azure}, ""},
		{"azure with a folder", "azure-blob-storage-container", `{"container_name": "c", "base_folder": "f", "credentials": ` + account + `}`, "f/k", resultPlace{"azblob://c", "f/f/k", azure}, ""},
		{"azure without credentials", "azure-blob-storage-container", `{"container_name": "c", "credentials": null}`, "k", resultPlace{}, "it has no credentials"},
		{"another block", "smb", `{"username": "s3cr3t"}`, "k", resultPlace{},
			"results in blocks of this type cannot be read here; there are s3-bucket, gcs-bucket, azure-blob-storage-container and local-file-system"},
	} {
		t.Run(test.name, func(t *testing.T) {
			getenv := func(name string) string { return map[string]string{"AWS_ENDPOINT_URL": "http://e"}[name] }
			got, err := placeOf(&prefect.Block{Type: test.slug, Data: prefect.BlockData(test.data)}, test.key, getenv)
			text := ""
			if err != nil {
				text, got = err.Error(), resultPlace{}
			}
			if diff := cmp.Diff(test.text, text); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(resultPlace{})); diff != "" {
				t.Errorf("place (-want +got):\n%s", diff)
			}
		})
	}
}

// someBlocks are blocks of local files by their ids.
type someBlocks map[string]string

func (b someBlocks) BlockDocumentByID(_ context.Context, id string) (*prefect.Block, error) {
	if base, ok := b[id]; ok {
		return &prefect.Block{ID: id, Name: "n", Type: "local-file-system", Data: prefect.BlockData(fmt.Sprintf(`{"basepath": %q}`, base))}, nil
	}
	return nil, fmt.Errorf("block %q: %w", id, orchestrator.ErrNotFound)
}

func TestFetchLocalResult(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "base")
	for name, text := range map[string]string{"base/k": `{"n": 1}`, "outside": `2`, "base/sub/k": `3`} {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "outside"), filepath.Join(base, "link")); err != nil {
		t.Logf("no links here: %v", err)
	}
	blocks := someBlocks{"b": base, "gone": filepath.Join(dir, "none"), "windows": `Z:\results`}
	stored := func(key, block string) string {
		m := map[string]any{"storage_key": key, "serializer": map[string]string{"type": "json"}, "storage_block_id": nil}
		if block != "" {
			m["storage_block_id"] = block
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, test := range []struct {
		name, data, want string
		err              error // nil: any
	}{
		{"the result itself", ` {"n": 5}`, ` {"n": 5}`, nil},
		{"none", "null", "", ErrNotPersisted},
		{"no data", "", "", ErrNotPersisted},
		{"block", stored("k", "b"), `{"n": 1}`, nil},
		{"block, absolute", stored(filepath.Join(base, "sub", "k"), "b"), `3`, nil},
		{"absolute", stored(filepath.Join(dir, "outside"), ""), `2`, nil},
		{"outside of the block", stored("../outside", "b"), "", nil},
		{"absolute, outside of the block", stored(filepath.Join(dir, "outside"), "b"), "", nil},
		{"link out of the block", stored("link", "b"), "", nil},
		{"directory", stored("sub", "b"), "", nil},
		{"block of another machine", stored("k", "gone"), "", ErrResultElsewhere},
		{"folder of another machine", stored(filepath.Join(dir, "none", "k"), ""), "", ErrResultElsewhere},
		{"another system's", stored(`Z:\results\k`, ""), "", ErrResultElsewhere},
		{"another system's block", stored("k", "windows"), "", ErrResultElsewhere},
		{"nowhere", stored("k", ""), "", nil},
		{"no key", stored("", "b"), "", nil},
		{"no block", stored("k", "deleted"), "", orchestrator.ErrNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := fetchResult(t.Context(), blocks, json.RawMessage(test.data), nil)
			if test.want == "" {
				if err == nil || test.err != nil && !errors.Is(err, test.err) {
					t.Errorf("value %v, error %v, want %v", v, err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(v.JSON)); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

// The object of a result may appear after its state.
func TestResultThatIsLate(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("enough")
	tries := 0
	late := &storedResult{read: func(context.Context) ([]byte, error) {
		if tries++; tries < 3 {
			return nil, fmt.Errorf("read: %w", storage.ErrNotFound)
		}
		return []byte("5"), nil
	}}
	if b, err := late.patiently(ctx); string(b) != "5" || err != nil || tries != 3 {
		t.Errorf("%q, %v after %d attempts", b, err, tries)
	}
	tries = 0
	never := &storedResult{read: func(context.Context) ([]byte, error) { tries++; return nil, os.ErrNotExist }}
	if _, err := never.patiently(ctx); !errors.Is(err, ErrResultElsewhere) || tries != resultAttempts {
		t.Errorf("%v after %d attempts", err, tries)
	}
	tries = 0
	stopped := &storedResult{read: func(context.Context) ([]byte, error) { tries++; cancel(enough); return nil, storage.ErrNotFound }}
	if _, err := stopped.patiently(ctx); !errors.Is(err, enough) || tries != 1 {
		t.Errorf("%v after %d attempts", err, tries)
	}
	broken := &storedResult{read: func(context.Context) ([]byte, error) { tries++; return nil, storage.ErrUnauthorized }}
	if _, err := broken.patiently(t.Context()); !errors.Is(err, storage.ErrUnauthorized) || tries != 2 {
		t.Errorf("%v after %d attempts", err, tries)
	}
}
