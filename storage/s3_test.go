package storage_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

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

// What S3 says about a request in the wrong region, or by a clock that is wrong, is told.
func TestSigningFaults(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault func() fault
		want  error
		says  string
	}{
		{"wrong region", times(always, anyRequest, answer(400, "AuthorizationHeaderMalformed")), storage.ErrUnauthorized, "another region: "},
		{"another region", times(always, anyRequest, answer(301, "PermanentRedirect")), storage.ErrUnauthorized, "another region: "},
		{"clock is wrong", times(always, anyRequest, answer(403, "RequestTimeTooSkewed")), storage.ErrUnauthorized, "RequestTimeTooSkewed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, p := openProxied(t, "s3", 20*time.Second)
			p.set(test.fault())
			_, err := s.Put(t.Context(), "k", strings.NewReader("content"), describe("content"))
			p.set(nil)
			if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("put: %v; want %v, %q", err, test.want, test.says)
			}
		})
	}
}
