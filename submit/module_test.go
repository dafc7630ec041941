//go:build unix

package submit_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/storage/gocloud"
	"github.com/flowship/flowship/submit"
)

// shelf stands in for every object store: buckets are directories in one.
type shelf struct {
	dir         string
	opened      []string             // URLs
	credentials *storage.Credentials // of the last one
	refuses     error
}

func (s *shelf) options() *submit.ModuleOptions {
	open := func(_ context.Context, u *url.URL, c *storage.Credentials) (*blob.Bucket, error) {
		s.opened, s.credentials = append(s.opened, u.String()), c
		if s.refuses != nil {
			return nil, s.refuses
		}
		return fileblob.OpenBucket(filepath.Join(s.dir, u.Host), &fileblob.Options{NoTempDir: true, CreateDir: true})
	}
	return &submit.ModuleOptions{Openers: gocloud.Openers(map[string]gocloud.Opener{"s3": open, "gs": open, "azblob": open})}
}

// python runs the module as a command line says, and returns its exit code and what it prints.
func (s *shelf) python(t *testing.T, args ...string) (int, string) {
	t.Helper()
	m, err := submit.ParseModule(args)
	if err != nil {
		t.Fatal(err)
	}
	code, err := m.Run(t.Context(), s.options())
	if err != nil {
		return code, err.Error()
	}
	return code, ""
}

func TestParseModule(t *testing.T) {
	const key = "--key=k"
	for _, test := range []struct {
		args []string
		want string // the error, or ""
	}{
		{[]string{"prefect_aws.bundles.upload", "--bucket", "b", "--key", "k", "f"}, ""},
		{[]string{"prefect_aws.experimental.bundles.upload", "f", "--bucket=b", key}, ""},
		{[]string{"prefect_aws.bundles.upload", "--bucket=b", key, "--aws-credentials-block-name", "c", "--", "-f"}, ""},
		{[]string{"prefect_gcp.bundles.execute", "--bucket=b", "--gcp-credentials-block-name=c", key}, ""},
		{[]string{"prefect_azure.experimental.bundles.execute", "--container=b", "--azure-blob-storage-credentials-block-name=c", key}, ""},
		{[]string{"prefect.bundles.execute", "--key", "k"}, ""},
		{[]string{"prefect._experimental.bundles.execute", "--key", "k"}, ""},
		{nil, "-m needs the name of a module; there are " + strings.Join(submit.Modules(), ", ")},
		{[]string{"json.tool"}, `there is no module "json.tool"; there are ` + strings.Join(submit.Modules(), ", ")},
		{[]string{"prefect_aws.bundles.upload", "--bucket=b", "f"}, `missing option "--key"`},
		{[]string{"prefect_aws.bundles.upload", key, "f"}, `missing option "--bucket"`},
		{[]string{"prefect_aws.bundles.upload", "--bucket=b", key}, `missing argument "LOCAL_FILEPATH"`},
		{[]string{"prefect_aws.bundles.upload", "--bucket=b", key, "f", "g"}, "got unexpected extra argument (g)"},
		{[]string{"prefect_aws.bundles.upload", "--container=b", key, "f"}, "no such option: --container"},
		{[]string{"prefect_aws.bundles.upload", "--digest=b", key, "f"}, "no such option: --digest"},
		{[]string{"prefect_aws.bundles.execute", "--bucket=b", "--key"}, `option "--key" requires an argument`},
		{[]string{"prefect_aws.bundles.execute", "--bucket=b", key, "f"}, "got unexpected extra argument (f)"},
		{[]string{"prefect_aws.bundles.execute", "--bucket=b", key, "--digest=x"}, `option "--digest": bundle: "x" is not a digest: want sha256: and 64 lower-case hexadecimal digits`},
		{[]string{"prefect_azure.bundles.execute", "--container=b", key}, `missing option "--azure-blob-storage-credentials-block-name"`},
		{[]string{"prefect.bundles.execute"}, `missing option "--key"`},
	} {
		_, err := submit.ParseModule(test.args)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.args, diff)
		}
		var usage *submit.ModuleUsageError
		if err != nil && !errors.As(err, &usage) {
			t.Errorf("%q: %T", test.args, err)
		}
	}
}

func FuzzParseModule(f *testing.F) {
	f.Add("prefect_aws.bundles.upload\x00--bucket=b\x00--key\x00k\x00f")
	f.Add("prefect.bundles.execute\x00--key=\x00--")
	f.Fuzz(func(t *testing.T, line string) {
		if m, err := submit.ParseModule(strings.Split(line, "\x00")); err == nil && !slices.Contains(submit.Modules(), m.Name) {
			t.Errorf("module %q", m.Name)
		}
	})
}

// packed builds a bundle in a directory, with keys as file names.
func packed(t *testing.T, inv bundle.Invocation, files map[string]string) (dir string, built *bundle.Built) {
	t.Helper()
	src, dir := tree(t, files), t.TempDir()
	var include []string
	for name := range files {
		include = append(include, name)
	}
	c, err := bundle.Collect(t.Context(), src, include, nil)
	if err != nil {
		t.Fatal(err)
	}
	built, err = bundle.Build(t.Context(), c, inv, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return dir, built
}

func TestModuleUpload(t *testing.T) {
	dir, built := packed(t, bundle.Invocation{Runtime: bundle.RuntimeExec, Command: []string{"true"}}, map[string]string{"data": "1\n"})
	t.Chdir(dir)
	s := &shelf{dir: t.TempDir()}
	upload := func(key, file string) []string {
		return []string{"prefect_aws.bundles.upload", "--bucket=b", "--key", key, file}
	}
	wantKept := func(key, content string) {
		t.Helper()
		got, err := os.ReadFile(filepath.Join(s.dir, "b", key))
		if err != nil || string(got) != content {
			t.Errorf("%q is %q, %v; want %q", key, got, err, content)
		}
	}
	want := func(args []string, code int, text string) {
		t.Helper()
		if gotCode, got := s.python(t, args...); gotCode != code || got != text {
			t.Errorf("%q: code %d, %q\nwant code %d, %q", args, gotCode, got, code, text)
		}
	}
	if err := os.WriteFile("new", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	sidecar, err := os.ReadFile(filepath.FromSlash(built.Document.FilesKey))
	if err != nil {
		t.Fatal(err)
	}

	// A document: the last one wins, as in boto3; a key of no characters is the file's name.
	want(upload("k", "bundle.json"), 0, "")
	want(upload("k", "new"), 0, "")
	wantKept("k", "new")
	want(upload("", "new"), 0, "")
	wantKept("new", "new")
	// A sidecar is sent once. What has its size, or its files in another form, stays.
	key := built.Document.FilesKey
	want(upload(key, key), 0, "")
	wantKept(key, string(sidecar))
	at, otherwise := filepath.Join(s.dir, "b", key), repacked(t, sidecar)
	for _, test := range []struct {
		name           string
		stored, remain []byte
	}{
		{"of the same size", bytes.Repeat([]byte("x"), len(sidecar)), bytes.Repeat([]byte("x"), len(sidecar))},
		{"packed otherwise", otherwise, otherwise},
		{"damaged", sidecar[:len(sidecar)-1], sidecar},
	} {
		if err := os.WriteFile(at, test.stored, 0o600); err != nil {
			t.Fatal(err)
		}
		want(upload(key, key), 0, "")
		if got, err := os.ReadFile(at); err != nil || !bytes.Equal(got, test.remain) {
			t.Errorf("%s: %d bytes of %d, %v", test.name, len(got), len(test.remain), err)
		}
	}

	want(upload("k", "./none"), 1, "Failed to upload bundle to S3 (ValueError): Bundle file not found: none")
	want([]string{"prefect_gcp.bundles.upload", "--bucket=b", "--key=k", "none"}, 1, "ValueError: Bundle file not found: none")
	want([]string{"prefect_aws.bundles.upload", "--bucket=a/b?c", "--key=k", "new"}, 1, `Failed to upload bundle to S3 (ValueError): Invalid bucket name "a/b?c"`)
	s.refuses = errors.New("closed")
	want(upload("k", "new"), 1, `Failed to upload bundle to S3 (RuntimeError): Failed to upload bundle to S3: submit: storage: open "s3://b": closed`)
	want([]string{"prefect_gcp.bundles.upload", "--bucket=b", "--key=k", "new"}, 1, `RuntimeError: Failed to upload bundle to GCS: submit: storage: open "gs://b": closed`)
}

// TestModuleUploadForgotten: Prefect's Docker worker in a client's process uploads the document and
// leaves the sidecar where it has packed it.
func TestModuleUploadForgotten(t *testing.T) {
	files := map[string]string{"data": "1\n"}
	dir, built := packed(t, bundle.Invocation{Runtime: bundle.RuntimeExec, Command: []string{"true"}}, files)
	sidecar, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(built.Document.FilesKey)))
	if err != nil {
		t.Fatal(err)
	}
	sidecar = repacked(t, sidecar) // Prefect packs the same files in its own way
	for _, test := range []struct {
		name    string
		left    map[string][]byte // in the temporary directory
		beside  bool              // as when it is uploaded next
		foreign bool              // somebody else's
		want    []byte            // what is stored; nil: nothing
	}{
		{"left", map[string][]byte{"prefect-zip-a": sidecar[:len(sidecar)/2], "prefect-zip-b": sidecar, "prefect-zip-c": nil}, false, false, sidecar},
		{"another one", map[string][]byte{"prefect-zip-a": []byte("PK")}, false, false, nil},
		{"not Prefect's", map[string][]byte{"zip-a": sidecar}, false, false, nil},
		{"somebody else's", map[string][]byte{"prefect-zip-a": sidecar}, false, true, nil},
		{"uploaded next", map[string][]byte{"prefect-zip-a": sidecar}, true, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			work, tmp, s := t.TempDir(), filepath.Join(t.TempDir(), "[of mine]"), &shelf{dir: t.TempDir()}
			t.Chdir(work)
			if err := os.Mkdir(tmp, 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("TMPDIR", tmp)
			for name, content := range test.left {
				if err := errors.Join(os.Mkdir(filepath.Join(tmp, name), 0o700), os.WriteFile(filepath.Join(tmp, name, "files.zip"), content, 0o600)); err != nil {
					t.Fatal(err)
				}
				if test.foreign {
					if err := os.Chown(filepath.Join(tmp, name), 12345, 12345); err != nil {
						t.Skip("only root can give a directory to somebody else:", err)
					}
				}
			}
			if test.beside {
				if err := errors.Join(os.Mkdir("files", 0o700), os.WriteFile(filepath.FromSlash(built.Document.FilesKey), sidecar, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			document, err := os.ReadFile(filepath.Join(dir, "bundle.json"))
			if err == nil {
				err = os.WriteFile("k", document, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			if code, text := s.python(t, "prefect_aws.bundles.upload", "--bucket=b", "--key=k", "k"); code != 0 {
				t.Error(text)
			}
			got, err := os.ReadFile(filepath.Join(s.dir, "b", filepath.FromSlash(built.Document.FilesKey)))
			if !bytes.Equal(got, test.want) || (err == nil) != (test.want != nil) {
				t.Errorf("stored: %d bytes of %d, %v", len(got), len(test.want), err)
			}
			if got, err := os.ReadFile(filepath.Join(s.dir, "b", "k")); err != nil || !bytes.Equal(got, document) {
				t.Errorf("document: %d bytes of %d, %v", len(got), len(document), err)
			}
		})
	}
}

// repacked is a zip of the same files with other bytes.
func repacked(t *testing.T, archive []byte) []byte {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range r.File {
		from, err := e.Open()
		if err != nil {
			t.Fatal(err)
		}
		to, err := w.CreateHeader(&zip.FileHeader{Name: e.Name, Method: zip.Store, ExternalAttrs: e.ExternalAttrs, CreatorVersion: e.CreatorVersion})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(to, from); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if b.Len() == len(archive) {
		t.Fatal("packed in another way, it has the same size")
	}
	return b.Bytes()
}

func TestModuleExecute(t *testing.T) {
	dir, built := packed(t, bundle.Invocation{Runtime: bundle.RuntimeExec, Command: []string{"sh", "-c", "cp data copy; exit 7"}}, map[string]string{"data": "1\n"})
	s := &shelf{dir: t.TempDir()}
	if err := os.CopyFS(filepath.Join(s.dir, "b"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	aws := []string{"prefect_aws.bundles.execute", "--bucket=b", "--key"}
	gcp := []string{"prefect_gcp.bundles.execute", "--bucket=b", "--key"}
	other := bundle.Digest{1}.String()
	for _, test := range []struct {
		args []string
		code int
		text string // its beginning
	}{
		{append(aws, "bundle.json"), 7, ""},
		{append(gcp, "bundle.json", "--digest", built.Digest.String()), 7, ""},
		{[]string{"prefect.bundles.execute", "--key", filepath.Join(dir, "bundle.json")}, 7, ""},
		{append(aws, "none"), 1, "Bundle execution failed (RuntimeError): Failed to download bundle from S3: storage: get \"none\" in \"s3://b\": not found"},
		{append(gcp, "none"), 1, "RuntimeError: Failed to download bundle from GCS: storage: get \"none\" in \"gs://b\": not found"},
		{append(aws, "bundle.json", "--digest", other), 1, "Bundle execution failed (RuntimeError): Failed to download bundle from S3: \"bundle.json\": the stored document is not the one that was submitted"},
		{[]string{"prefect.bundles.execute", "--key", filepath.Join(dir, "none")}, 1, "FileNotFoundError: [Errno 2] No such file or directory: '" + dir + "/none'"},
	} {
		work := t.TempDir()
		t.Chdir(work)
		code, text := s.python(t, test.args...)
		if code != test.code || !strings.HasPrefix(text, test.text) || (text == "") != (test.text == "") {
			t.Errorf("%q: code %d, %q\nwant code %d, %q", test.args, code, text, test.code, test.text)
		}
		if _, err := os.Stat("copy"); (err == nil) != (test.code == 7) {
			t.Errorf("%q: %v", test.args, err)
		}
	}
}

// TestModuleCredentials: what is in the block opens the bucket, and stands nowhere else.
func TestModuleCredentials(t *testing.T) {
	const secret = "s3cr3t"
	blocks := map[string]string{
		"aws-credentials/full": `{"aws_access_key_id": "AK", "aws_secret_access_key": "s3cr3t", "aws_session_token": "st", "region_name": "eu-west-1", "profile_name": null,
			"aws_client_parameters": {"use_ssl": true, "verify": false, "endpoint_url": "http://h:1", "config": null},
			"assume_role_arn": "arn:aws:iam::1:role/r", "assume_role_kwargs": {"DurationSeconds": 900, "ExternalId": "x", "Policy": null, "PolicyArns": [{"arn": "p"}]}}`,
		"aws-credentials/empty":                 `{"aws_access_key_id": null, "aws_client_parameters": {"verify": "/ca.pem"}}`,
		"aws-credentials/mfa":                   `{"assume_role_arn": "a", "assume_role_kwargs": {"TokenCode": "s3cr3t"}}`,
		"aws-credentials/wrong":                 `{"aws_secret_access_key": ["s3cr3t"]}`,
		"gcp-credentials/object":                `{"service_account_info": {"private_key":"s3cr3t"}, "project": "p"}`,
		"gcp-credentials/text":                  `{"service_account_info": "{\"private_key\":\"s3cr3t\"}"}`,
		"gcp-credentials/none":                  `{"service_account_info": null, "service_account_file": null}`,
		"gcp-credentials/both":                  `{"service_account_info": {"private_key":"s3cr3t"}, "service_account_file": "f"}`,
		"azure-blob-storage-credentials/string": `{"connection_string": "AccountKey=s3cr3t", "account_url": null}`,
		"azure-blob-storage-credentials/app":    `{"account_url": "https://a", "tenant_id": "t", "client_id": "c", "client_secret": "s3cr3t"}`,
		"azure-blob-storage-credentials/empty":  `{}`,
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/block_types/slug/{slug}/block_documents/name/{name}", func(w http.ResponseWriter, r *http.Request) {
		slug, name := r.PathValue("slug"), r.PathValue("name")
		data, ok := blocks[slug+"/"+name]
		if !ok || r.URL.Query().Get("include_secrets") != "true" {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"detail": "Block Document not found"}`)
			return
		}
		fmt.Fprintf(w, `{"id": "1", "name": %q, "block_type": {"slug": %q}, "data": %s}`, name, slug, data)
	})
	api := httptest.NewServer(mux)
	defer api.Close()
	modules := map[string][]string{
		"aws-credentials":                {"prefect_aws.bundles.upload", "--bucket=b", "--key=k", "f", "--aws-credentials-block-name"},
		"gcp-credentials":                {"prefect_gcp.bundles.upload", "--bucket=b", "--key=k", "f", "--gcp-credentials-block-name"},
		"azure-blob-storage-credentials": {"prefect_azure.bundles.upload", "--container=b", "--key=k", "f", "--azure-blob-storage-credentials-block-name"},
	}
	const failed = "Failed to upload bundle to S3 (ValueError): block "
	for _, test := range []struct {
		slug, name string
		want       *storage.Credentials
		text       string
	}{
		{"aws-credentials", "full", &storage.Credentials{AWS: &storage.AWSCredentials{
			AccessKeyID: "AK", SecretAccessKey: secret, SessionToken: "st", Region: "eu-west-1", Endpoint: "http://h:1", SkipVerify: true,
			Role: &storage.AWSRole{ARN: "arn:aws:iam::1:role/r", ExternalID: "x", Duration: 15 * time.Minute, PolicyARNs: []string{"p"}},
		}}, ""},
		{"aws-credentials", "empty", &storage.Credentials{AWS: &storage.AWSCredentials{CertFile: "/ca.pem"}}, ""},
		{"aws-credentials", "mfa", nil, failed + `"mfa" of type "aws-credentials": its field "assume_role_kwargs.TokenCode" is not supported`},
		{"aws-credentials", "wrong", nil, failed + `"wrong" of type "aws-credentials": its field "aws_secret_access_key" is not what it should be`},
		{"aws-credentials", "none", nil, `Failed to upload bundle to S3 (ValueError): block "none" of type "aws-credentials": there is no such block on the Prefect server`},
		{"gcp-credentials", "object", &storage.Credentials{Google: &storage.GoogleCredentials{Key: []byte(`{"private_key":"s3cr3t"}`)}}, ""},
		{"gcp-credentials", "text", &storage.Credentials{Google: &storage.GoogleCredentials{Key: []byte(`{"private_key":"s3cr3t"}`)}}, ""},
		{"gcp-credentials", "none", nil, ""},
		{"gcp-credentials", "both", nil, `ValueError: block "both" of type "gcp-credentials": it holds both a service account's file and the account itself`},
		{"azure-blob-storage-credentials", "string", &storage.Credentials{Azure: &storage.AzureCredentials{ConnectionString: "AccountKey=s3cr3t"}}, ""},
		{"azure-blob-storage-credentials", "app", &storage.Credentials{Azure: &storage.AzureCredentials{AccountURL: "https://a", TenantID: "t", ClientID: "c", ClientSecret: secret}}, ""},
		{"azure-blob-storage-credentials", "empty", nil, `ValueError: block "empty" of type "azure-blob-storage-credentials": it holds neither a connection string nor the account's URL`},
	} {
		t.Run(test.slug+" "+test.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			t.Setenv("PREFECT_API_URL", api.URL+"/api")
			t.Setenv("HOME", t.TempDir())
			if err := os.WriteFile("f", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			s := &shelf{dir: t.TempDir()}
			code, text := s.python(t, append(modules[test.slug], test.name)...)
			if (code == 0) != (test.text == "") || text != test.text || strings.Contains(text, secret) {
				t.Errorf("code %d, %q\nwant %q", code, text, test.text)
			}
			if diff := cmp.Diff(test.want, s.credentials); diff != "" {
				t.Errorf("credentials (-want +got):\n%s", diff)
			}
			encoded, err := json.Marshal(s.credentials)
			if shown := fmt.Sprintf("%v %+v %#v %v %s %v", s.credentials, test.want, s.credentials, s.opened, encoded, err); strings.Contains(shown, secret) {
				t.Errorf("the secret is shown: %s", shown)
			}
		})
	}
}

// Without an API nobody knows of blocks.
func TestModuleWithoutAPI(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("PREFECT_API_URL", "")
	t.Setenv("HOME", t.TempDir())
	code, text := (&shelf{}).python(t, "prefect_aws.bundles.execute", "--bucket=b", "--key=k", "--aws-credentials-block-name=c")
	want := `Bundle execution failed (ValueError): block "c" of type "aws-credentials": prefect: no Prefect API is configured: PREFECT_API_URL is not set, and no profile sets it`
	if code != 1 || text != want {
		t.Errorf("code %d, %q", code, text)
	}
}
