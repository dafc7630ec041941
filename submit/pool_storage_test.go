package submit

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/launch"
)

// What Prefect's own command line leaves on a work pool, to the byte.
func TestConfigureStorage(t *testing.T) {
	name := func(s string) *string { return &s }
	tests := []struct {
		about string
		steps []StorageSettings // one after the other
		want  string
	}{
		{
			"s3", []StorageSettings{{Type: StorageS3, Place: "b"}},
			`{"bundle_upload_step":{"prefect_aws.experimental.bundles.upload":{"bucket":"b","requires":"prefect-aws"}},` +
				`"bundle_execution_step":{"prefect_aws.experimental.bundles.execute":{"bucket":"b","requires":"prefect-aws"}},"default_result_storage_block_id":null}`,
		},
		{
			"what is not named stays",
			[]StorageSettings{
				{Type: StorageS3, Place: "b", Credentials: name("creds"), Launcher: &launch.Launcher{Upload: []string{"up"}, Execution: []string{"python", "-X"}}},
				{Type: StorageS3, Launcher: &launch.Launcher{Execution: []string{"flowship"}}},
				{Type: StorageS3, Place: "other"},
			},
			`{"bundle_upload_step":{"prefect_aws.experimental.bundles.upload":{"bucket":"other","aws_credentials_block_name":"creds","launcher":["up"]}},` +
				`"bundle_execution_step":{"prefect_aws.experimental.bundles.execute":{"bucket":"other","aws_credentials_block_name":"creds","launcher":["flowship"]}},"default_result_storage_block_id":null}`,
		},
		{
			"credentials are taken away",
			[]StorageSettings{{Type: StorageGCS, Place: "b", Credentials: name("creds")}, {Type: StorageGCS, Credentials: name("")}},
			`{"bundle_upload_step":{"prefect_gcp.experimental.bundles.upload":{"bucket":"b","requires":"prefect-gcp"}},` +
				`"bundle_execution_step":{"prefect_gcp.experimental.bundles.execute":{"bucket":"b","requires":"prefect-gcp"}},"default_result_storage_block_id":null}`,
		},
		{
			"another type begins anew, and so does a reset",
			[]StorageSettings{
				{Type: StorageS3, Place: "b", Credentials: name("aws")},
				{Type: StorageAzure, Place: "c", Credentials: name("azure"), Launcher: &launch.Launcher{Upload: []string{"flowship"}, Execution: []string{"flowship"}}},
				{Type: StorageAzure, Place: "d", Credentials: name("azure"), Reset: true},
			},
			`{"bundle_upload_step":{"prefect_azure.experimental.bundles.upload":{"container":"d","azure_blob_storage_credentials_block_name":"azure","requires":"prefect-azure"}},` +
				`"bundle_execution_step":{"prefect_azure.experimental.bundles.execute":{"container":"d","azure_blob_storage_credentials_block_name":"azure","requires":"prefect-azure"}},"default_result_storage_block_id":null}`,
		},
	}
	for _, test := range tests {
		t.Run(test.about, func(t *testing.T) {
			c, err := OpenClient(t.Context(), &ClientOptions{Home: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, s := range test.steps {
				if err := c.ConfigureStorage(t.Context(), "local", s); err != nil {
					t.Fatal(err)
				}
			}
			pool, err := c.WorkPool(t.Context(), "local")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(pool.Storage)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestConfigureStorageRefuses(t *testing.T) {
	c, err := OpenClient(t.Context(), &ClientOptions{Home: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	credentials := "c"
	for about, s := range map[string]StorageSettings{
		"no bucket":               {Type: StorageS3},
		"a blank bucket":          {Type: StorageGCS, Place: " "},
		"Azure has credentials":   {Type: StorageAzure, Place: "c"},
		"folders have none":       {Type: StorageLocal, Place: t.TempDir(), Credentials: &credentials},
		"no such type of storage": {Type: "FTP", Place: "b"},
	} {
		var invalid *InvalidError
		if err := c.ConfigureStorage(t.Context(), "local", s); !errors.As(err, &invalid) {
			t.Errorf("%s: %v", about, err)
		}
	}
}

func TestStoreURL(t *testing.T) {
	step := func(module, option, place string) *launch.Step {
		return &launch.Step{Module: module, Options: []launch.StepOption{{Name: option, Value: place}}}
	}
	s3 := step("prefect_aws.bundles.upload", "bucket", "b") // Prefect's new name of the module
	tests := []struct {
		about       string
		step        *launch.Step
		environment map[string]string
		want        string // "" when it is an error
	}{
		{"s3", s3, nil, "s3://b"},
		{"s3 of another server", s3, map[string]string{"AWS_ENDPOINT_URL": "http://h:9000"}, "s3://b?endpoint=http%3A%2F%2Fh%3A9000&region=us-east-1&use_path_style=true"},
		{
			"the service's own variable first, and the region",
			s3, map[string]string{"AWS_ENDPOINT_URL": "http://x", "AWS_ENDPOINT_URL_S3": "https://h", "AWS_REGION": "eu"}, "s3://b?endpoint=https%3A%2F%2Fh&use_path_style=true",
		},
		{"an endpoint with a secret", s3, map[string]string{"AWS_ENDPOINT_URL": "http://u:p@h"}, ""},
		{"gcs", step("prefect_gcp.experimental.bundles.upload", "bucket", "b"), nil, "gs://b"},
		{"azure", step("prefect_azure.experimental.bundles.upload", "container", "c"), nil, "azblob://c"},
		{
			"azure's account, never its key",
			step("prefect_azure.experimental.bundles.upload", "container", "c"),
			map[string]string{"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_KEY": "k", "AZURE_STORAGE_DOMAIN": "127.0.0.1:1", "AZURE_STORAGE_PROTOCOL": "http"},
			"azblob://c?domain=127.0.0.1%3A1&protocol=http&storage_account=a",
		},
		{"a folder", step("flowship.step.upload", "path", "/b c"), nil, "file:///b%20c"},
		{"a folder somewhere", step("flowship.step.upload", "path", "b"), nil, ""},
		{"a bucket that is more than a name", step("prefect_aws.bundles.upload", "bucket", "u:p@b"), nil, ""},
		{"a bucket with a query", step("prefect_aws.bundles.upload", "bucket", "b?endpoint=http://evil"), nil, ""},
		{"an unknown module", step("prefect_mock.upload", "bucket", "b"), nil, ""},
	}
	for _, test := range tests {
		t.Run(test.about, func(t *testing.T) {
			for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_DOMAIN", "AZURE_STORAGE_PROTOCOL"} {
				t.Setenv(name, test.environment[name])
			}
			c, err := OpenClient(t.Context(), &ClientOptions{Home: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			pool, err := c.WorkPool(t.Context(), "local")
			if err != nil {
				t.Fatal(err)
			}
			if pool.Storage, err = json.Marshal(storageConfiguration{Upload: test.step}); err != nil {
				t.Fatal(err)
			}
			got, _, err := c.storeOf(pool)
			if got != test.want || (err != nil) != (test.want == "") {
				t.Errorf("%q (%v), want %q", got, err, test.want)
			}
		})
	}
}
