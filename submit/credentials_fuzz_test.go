package submit

import (
	"strings"
	"testing"
)

// FuzzCredentials: whatever a block holds, what is said about it does not repeat its values.
func FuzzCredentials(f *testing.F) {
	f.Add("aws-credentials", `{"aws_access_key_id": "a", "aws_client_parameters": {"verify": "/s3cr3t"}, "assume_role_arn": "r", "assume_role_kwargs": {"PolicyArns": ["s3cr3t"]}}`)
	f.Add("aws-credentials", `{"aws_secret_access_key": {"s": "s3cr3t"}}`)
	f.Add("gcp-credentials", `{"service_account_info": "s3cr3t"}`)
	f.Add("azure-blob-storage-credentials", `{"connection_string": ["s3cr3t"]}`)
	f.Add("secret", `"s3cr3t"`)
	f.Fuzz(func(t *testing.T, slug, data string) {
		if strings.Contains(strings.ToLower(data), "service_account_file") {
			return // names a file of this machine
		}
		c, err := credentialsOf(slug, []byte(data))
		if err != nil && c != nil {
			t.Errorf("both credentials and %v", err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cr3t") && !strings.Contains(data, `"assume_role_kwargs"`) {
			t.Errorf("the error shows a value: %v", err)
		}
	})
}
