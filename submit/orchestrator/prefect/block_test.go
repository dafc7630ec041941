package prefect_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/flowship/flowship/submit/orchestrator"
)

// TestBlocks: what is configured again keeps what is not named again.
func TestBlocks(t *testing.T) {
	c := newProxy(t).open(t)
	ctx := t.Context()
	set := func(slug, name string, data map[string]any) string {
		t.Helper()
		id, err := c.CreateOrUpdateBlock(ctx, slug, name, data)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	mine := uuid.NewString()
	key := set("aws-credentials", "key-"+mine, map[string]any{"aws_access_key_id": "AK", "aws_secret_access_key": "s3cr3t"})
	other := set("aws-credentials", "other-"+mine, map[string]any{"aws_access_key_id": "OTHER"})
	ref := func(id string) map[string]any {
		return map[string]any{"$ref": map[string]any{"block_document_id": id}}
	}
	first := set("s3-bucket", "bucket-"+mine, map[string]any{"bucket_name": "b1", "bucket_folder": "results", "credentials": ref(key)})

	type fields struct {
		Bucket      string `json:"bucket_name"`
		Folder      string `json:"bucket_folder"`
		Credentials struct {
			ID     string `json:"aws_access_key_id"`
			Secret string `json:"aws_secret_access_key"`
		}
	}
	for _, test := range []struct {
		what       string
		data       map[string]any
		bucket, id string
	}{
		{"as it was made", nil, "b1", "AK"},
		{"no credentials", map[string]any{"bucket_name": "b2"}, "b2", "AK"},
		{"empty credentials", map[string]any{"bucket_name": "b3", "credentials": map[string]any{}}, "b3", "AK"},
		{"null credentials", map[string]any{"bucket_name": "b4", "credentials": nil}, "b4", "AK"},
		{"other credentials", map[string]any{"credentials": ref(other)}, "b4", "OTHER"},
	} {
		if test.data != nil {
			if id := set("s3-bucket", "bucket-"+mine, test.data); id != first {
				t.Errorf("%s: block %q, want %q", test.what, id, first)
			}
		}
		block, err := c.BlockDocumentByID(ctx, first)
		if err != nil {
			t.Fatal(err)
		}
		var got, want fields
		if err := json.Unmarshal(block.Data, &got); err != nil {
			t.Fatal(err)
		}
		want.Bucket, want.Folder, want.Credentials.ID = test.bucket, "results", test.id
		if test.id == "AK" {
			want.Credentials.Secret = "s3cr3t"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.what, diff)
		}
	}

	for what, look := range map[string]func() error{
		"id":       func() error { _, err := c.BlockDocumentByID(ctx, uuid.NewString()); return err },
		"no id":    func() error { _, err := c.BlockDocumentByID(ctx, "../flows"); return err },
		"name":     func() error { _, err := c.BlockDocument(ctx, "secret", mine); return err },
		"new type": func() error { _, err := c.CreateOrUpdateBlock(ctx, "type-"+mine, "x", nil); return err },
	} {
		if err := look(); !errors.Is(err, orchestrator.ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestVariable(t *testing.T) {
	c := newProxy(t).open(t)
	name := "v_" + uuid.NewString()
	if err := c.Post(t.Context(), "/variables/", map[string]any{"name": name, "value": map[string]any{"a": []int{1}}}); err != nil {
		t.Fatal(err)
	}
	value, found, err := c.Variable(t.Context(), name)
	if err != nil || !found || string(value) != `{"a":[1]}` {
		t.Errorf("%s, %v, %v", value, found, err)
	}
	for _, missing := range []string{name + "x", "", "..", "a/b"} {
		if value, found, err := c.Variable(t.Context(), missing); err != nil || found || value != nil {
			t.Errorf("%q: %s, %v, %v", missing, value, found, err)
		}
	}
}

func TestBaseJobTemplate(t *testing.T) {
	c := newProxy(t).open(t)
	for _, test := range []struct {
		typ  string
		want bool
	}{{"process", true}, {"kubernetes", true}, {"nonesuch", false}} {
		template, found, err := c.BaseJobTemplate(t.Context(), test.typ)
		var parts map[string]json.RawMessage
		if err != nil || found != test.want || found && (json.Unmarshal(template, &parts) != nil || parts["job_configuration"] == nil || parts["variables"] == nil) {
			t.Errorf("%s: %.100s, %v, %v", test.typ, template, found, err)
		}
	}
}
