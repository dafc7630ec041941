package submit

import "testing"

func TestSplitURL(t *testing.T) {
	const files = "files/c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00.zip"
	tests := []struct{ ref, url, key string }{
		{"s3://b/KEY", "s3://b", "KEY"},
		{"s3://b/some/prefix/KEY", "s3://b/some/prefix", "KEY"},
		{"s3://b/KEY?region=eu", "s3://b?region=eu", "KEY"},
		{"s3://b/prefix/KEY?endpoint=http://h:1/x&region=eu", "s3://b/prefix?endpoint=http://h:1/x&region=eu", "KEY"},
		{"gs://b/" + files, "gs://b", files},
		{"azblob://c/prefix/" + files + "?domain=h", "azblob://c/prefix?domain=h", files},
		{"s3://b/files/other", "s3://b/files", "other"},
		{"file:///store/KEY", "file:///store", "KEY"},
		{"file:///sto%3Fre/" + files, "file:///sto%3Fre", files},
	}
	for _, test := range tests {
		url, key, err := splitURL(test.ref)
		if url != test.url || key != test.key || err != nil {
			t.Errorf("%s: %q and %q, %v", test.ref, url, key, err)
		}
		if got := ObjectURL(url, key); got != test.ref {
			t.Errorf("%s becomes %s", test.ref, got)
		}
	}
	for _, ref := range []string{"s3://b", "s3://b/", "s3://b?prefix=x/y", "://", "file://"} {
		if url, key, err := splitURL(ref); err == nil {
			t.Errorf("%s: %q and %q", ref, url, key)
		}
	}
}
