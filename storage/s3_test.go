package storage_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"

	"github.com/flowship/flowship/storage"
)

// s3Client returns Amazon's own client of the server that a store is on.
func s3Client(t testing.TB, store string) (client *s3.Client, bucketName, prefix string) {
	t.Helper()
	u, err := url.Parse(store)
	if err != nil {
		t.Fatal(err)
	}
	prefix = strings.Trim(u.Path, "/") + "/"
	u.Path = ""
	b, err := blob.OpenBucket(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	if !b.As(&client) {
		t.Fatal("not a bucket on S3")
	}
	return client, u.Host, prefix
}

// unfinished returns the keys of uploads that were neither completed nor aborted.
func unfinished(t *testing.T, s *storage.Store) []string {
	t.Helper()
	client, name, prefix := s3Client(t, s.URL())
	out, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String(name), Prefix: aws.String(prefix)})
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{}
	for _, u := range out.Uploads {
		keys = append(keys, aws.ToString(u.Key))
	}
	return keys
}
