package submit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/aws"
	awscredentials "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/blob/s3blob"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/storage/gcs"
	"github.com/flowship/flowship/storage/gocloud"
	"github.com/flowship/flowship/submit/orchestrator"
	"github.com/flowship/flowship/submit/orchestrator/prefect"
	"github.com/flowship/flowship/submit/result"
)

// liveBlocks reads the blocks of a real server, and what else the test asks it for.
type liveBlocks struct{ api string }

func (b liveBlocks) get(ctx context.Context, path string, answer any) error {
	got, err := started.Ask(ctx, http.MethodGet, b.api+path, "")
	if err != nil {
		return fmt.Errorf("%w: %w", orchestrator.ErrNotFound, err)
	}
	return json.Unmarshal(got, answer)
}

func (b liveBlocks) BlockDocumentByID(ctx context.Context, id string) (*prefect.Block, error) {
	var answer struct {
		ID, Name string
		Type     struct{ Slug string } `json:"block_type"`
		Data     prefect.BlockData
	}
	err := b.get(ctx, "/block_documents/"+url.PathEscape(id)+"?include_secrets=true", &answer)
	return &prefect.Block{ID: answer.ID, Name: answer.Name, Type: answer.Type.Slug, Data: answer.Data}, err
}

// openWithBlocks opens the buckets of real servers with nothing but what the block says.
var openWithBlocks = &storage.OpenOptions{Openers: gocloud.Openers(map[string]gocloud.Opener{
	"s3": func(ctx context.Context, u *url.URL, c *storage.Credentials) (*blob.Bucket, error) {
		client := s3.New(s3.Options{
			Credentials: awscredentials.NewStaticCredentialsProvider(c.AWS.AccessKeyID, c.AWS.SecretAccessKey, ""), Region: c.AWS.Region,
			BaseEndpoint: aws.String(c.AWS.Endpoint), UsePathStyle: true,
		})
		return s3blob.OpenBucket(ctx, client, u.Host, nil)
	},
	"gs": func(_ context.Context, u *url.URL, c *storage.Credentials) (*blob.Bucket, error) {
		if !bytes.Contains(c.Google.Key, []byte("t@test.iam.gserviceaccount.com")) {
			return nil, errors.New("another service account")
		}
		return gcs.OpenBucket(http.DefaultClient, u.Host, nil)
	},
	"azblob": func(ctx context.Context, u *url.URL, c *storage.Credentials) (*blob.Bucket, error) {
		client, err := container.NewClientFromConnectionString(c.Azure.ConnectionString, u.Host, nil)
		if err != nil {
			return nil, err
		}
		return azureblob.OpenBucket(ctx, client, nil)
	},
})}

// testAccount makes a service account up, with a server that gives it tokens.
func testAccount(t *testing.T) map[string]any {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}`)
	}))
	t.Cleanup(tokens.Close)
	return map[string]any{
		"type": "service_account", "project_id": "test", "private_key_id": "1", "client_id": "1", "token_uri": tokens.URL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "client_email": "t@test.iam.gserviceaccount.com",
	}
}

// bucketOf returns the bucket of a server of the testbed, and its URL's query.
func bucketOf(t *testing.T, name, variable string) (string, url.Values) {
	t.Helper()
	u, err := url.Parse(started.Server(t, name, variable))
	if err != nil {
		t.Fatal(err)
	}
	return u.Host, u.Query()
}

// TestFetchStoredResult has Prefect run flows that store their results in each type of block, and
// fetches them.
func TestFetchStoredResult(t *testing.T) {
	type block struct {
		Kind        string         `json:"kind"`
		Credentials map[string]any `json:"credentials"`
		Bucket      string         `json:"bucket"`
		Folder      string         `json:"folder"`
		Runs        []string       `json:"runs"`
	}
	all := []string{"value json", "value pickle", "value compressed/json", "value compressed/pickle", "fail json", "fail pickle", "point pickle"}
	for _, test := range []struct {
		kind  string
		runs  []string
		block func(t *testing.T) block
	}{
		{"s3", all, func(t *testing.T) block {
			bucket, query := bucketOf(t, "s3", "FLOWSHIP_TEST_S3")
			return block{Folder: "results", Bucket: bucket, Credentials: map[string]any{
				"aws_access_key_id": os.Getenv("AWS_ACCESS_KEY_ID"), "aws_secret_access_key": os.Getenv("AWS_SECRET_ACCESS_KEY"), "region_name": "us-east-1",
				"aws_client_parameters": map[string]any{"endpoint_url": query.Get("endpoint")},
			}}
		}},
		{"minio", all[:1], func(t *testing.T) block {
			bucket, query := bucketOf(t, "s3", "FLOWSHIP_TEST_S3")
			return block{Bucket: bucket, Credentials: map[string]any{
				"minio_root_user": os.Getenv("AWS_ACCESS_KEY_ID"), "minio_root_password": os.Getenv("AWS_SECRET_ACCESS_KEY"), "region_name": "us-east-1",
				"aws_client_parameters": map[string]any{"endpoint_url": query.Get("endpoint")},
			}}
		}},
		{"gcs", all, func(t *testing.T) block {
			bucket, _ := bucketOf(t, "gcs", "FLOWSHIP_TEST_GCS")
			return block{Folder: "results", Bucket: bucket, Credentials: map[string]any{"service_account_info": testAccount(t)}}
		}},
		{"azure", all, func(t *testing.T) block {
			bucket, query := bucketOf(t, "azure", "FLOWSHIP_TEST_AZURE")
			account := os.Getenv("AZURE_STORAGE_ACCOUNT")
			text := fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%s;AccountKey=%s;BlobEndpoint=http://%s/%[1]s;", account, os.Getenv("AZURE_STORAGE_KEY"), query.Get("domain"))
			return block{Folder: "results", Bucket: bucket, Credentials: map[string]any{"connection_string": text}}
		}},
		{"local", all[4:], func(t *testing.T) block { return block{Folder: t.TempDir()} }},
		{"nowhere", all[:2], func(*testing.T) block { return block{} }},
	} {
		t.Run(test.kind, func(t *testing.T) {
			python, blocks := started.Python(t), liveBlocks{started.Server(t, "prefect", "FLOWSHIP_TEST_PREFECT_API")}
			about := test.block(t)
			about.Kind, about.Runs = test.kind, test.runs
			var seen []string
			for run, id := range persist(t, python, blocks.api, about) {
				seen = append(seen, run)
				var answer struct {
					State struct{ Data json.RawMessage }
				}
				if err := blocks.get(t.Context(), "/flow_runs/"+id, &answer); err != nil {
					t.Fatal(err)
				}
				v, err := fetchResult(t.Context(), blocks, answer.State.Data, openWithBlocks)
				if v == nil {
					t.Errorf("%s: %v", run, err)
					continue
				}
				wantStored(t, run, v, err)
			}
			if diff := cmp.Diff(slices.Sorted(slices.Values(test.runs)), slices.Sorted(slices.Values(seen))); diff != "" {
				t.Errorf("runs (-want +got):\n%s", diff)
			}
		})
	}
}

func wantStored(t *testing.T, run string, v *result.Value, err error) {
	t.Helper()
	switch flow, _, _ := strings.Cut(run, " "); flow {
	case "value":
		want, got := map[string]any{"n": 1.0, "list": []any{1.0, 2.5, nil}, "text": "é"}, any(nil)
		if err == nil {
			err = json.Unmarshal(v.JSON, &got)
		}
		if diff := cmp.Diff(any(want), got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", run, err, diff)
		}
	case "fail":
		if diff := cmp.Diff(&result.Exception{Type: "builtins.ValueError", Message: "as asked"}, v.Exception); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", run, err, diff)
		}
	case "point":
		wrong, ok := errors.AsType[*result.NotPlainError](err)
		if !ok || wrong.Global != "__main__.Point" || !bytes.Contains(v.Raw, []byte("Point")) {
			t.Errorf("%s: %v, raw %q", run, err, v.Raw)
		}
	default:
		t.Errorf("run %q", run)
	}
}

// persist runs the flows, and returns their ids.
func persist(t *testing.T, python, api string, block any) map[string]string {
	t.Helper()
	in, err := json.Marshal(block)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "../testdata/flows/stock/persist.py", "persist-"+strings.ToLower(rand.Text()[:8]))
	for _, e := range os.Environ() {
		// Credentials shall come from the block.
		name, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, "PREFECT_") && !strings.HasPrefix(name, "AWS_") && !strings.HasPrefix(name, "AZURE_") && name != "STORAGE_EMULATOR_HOST" {
			cmd.Env = append(cmd.Env, e)
		}
	}
	cmd.Env = append(cmd.Env, "PREFECT_API_URL="+api, "PREFECT_HOME="+t.TempDir(), "DO_NOT_TRACK=1", "NO_COLOR=1")
	if host := os.Getenv("STORAGE_EMULATOR_HOST"); host != "" {
		cmd.Env = append(cmd.Env, "STORAGE_EMULATOR_HOST=http://"+host)
	}
	var out, log bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("persist.py: %v\n%s", err, log.Bytes())
	}
	ids := map[string]string{}
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		var run struct{ Run, ID string }
		if json.Unmarshal(lines.Bytes(), &run) == nil && run.Run != "" {
			ids[run.Run] = run.ID
		}
	}
	return ids
}
