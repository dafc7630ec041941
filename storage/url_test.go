package storage_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/storage/gocloud"
)

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"plain text, a=b":                                         "plain text, a=b",
		"s3://bucket/prefix?region=eu":                            "s3://bucket/prefix?region=eu",
		"s3://key:secret@bucket?region=eu":                        "s3://REDACTED@bucket?region=eu",
		`Get "https://a/k?X-Amz-Signature=f&x-id=GetObject": EOF`: `Get "https://a/k?X-Amz-Signature=REDACTED&x-id=GetObject": EOF`,
		"azblob://c?endpoint=http://u:p@host/&sig=abc":            "azblob://c?endpoint=REDACTED&sig=REDACTED",
		"s3://b?endpoint=http%3A%2F%2Fu%3Ap%40host&region=eu":     "s3://b?endpoint=REDACTED&region=eu",
		"https://acct/c/k?sv=2021&se=2026&sp=r&sig=a%2Bb%3D.":     "https://acct/c/k?sv=REDACTED&se=REDACTED&sp=REDACTED&sig=REDACTED",
		"the token sp=r&sig=abc&x=1 is refused":                   "the token sp=r&sig=REDACTED&x=1 is refused",
		"X-Goog-Credential=me%40x/2026":                           "X-Goog-Credential=REDACTED",
	} {
		if diff := cmp.Diff(want, storage.Redact(text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// Whatever a secret looks like, and wherever it stands in a URL, it is not shown.
func FuzzRedact(f *testing.F) {
	f.Add("abc", "sig")
	f.Add("a%20b", "X-Amz-Security-Token")
	f.Fuzz(func(t *testing.T, secret, name string) {
		secret = "S3CRET" + secret
		ends := func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("\"'<>`&;#?/@=:", r) }
		if strings.ContainsFunc(secret, ends) || strings.ContainsFunc(name, ends) || name == "" || name == "prefix" {
			return
		}
		for _, u := range []string{"https://host/k?x=1&" + name + "=" + secret, "s3://me:" + secret + "@bucket/k?a=b", "gs://b?" + name + "=" + secret + "&region=eu"} {
			if got := storage.Redact(`Get "` + u + `": refused`); strings.Contains(got, "S3CRET") && !shownParameter(name) {
				t.Errorf("%q is %q", u, got)
			}
		}
	})
}

// shownParameter reports whether the values of a parameter may be seen.
func shownParameter(name string) bool {
	u := "s3://b?" + name + "=x"
	return storage.Redact(u) == u
}

func TestOpenRefusesURL(t *testing.T) {
	for url, want := range map[string]string{
		"bucket":                      "begins with a scheme",
		"s3://key:S3CRET@bucket":      "credentials do not belong",
		"s3://bucket#prefix":          "no fragment",
		"s3://bucket?a=%zz&b=S3CRET":  "not well-formed",
		"s3://bucket/%zz?sig=S3CRET":  "not a URL",
		"s3://bucket/a?prefix=b":      "both the path and the query",
		"s3://bucket/../a":            "not a valid key",
		"s3://bucket?sig=S3CRET":      `"sig"`,
		"azblob://bucket?sig=S3CRET":  `"sig"`,
		"nowhere://bucket?sig=S3CRET": "no driver",
	} {
		_, err := storage.Open(t.Context(), url, &storage.OpenOptions{Openers: gocloud.Openers(nil)})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "S3CRET") {
			t.Errorf("open %q: %v, want %q", url, err, want)
		}
	}
}
