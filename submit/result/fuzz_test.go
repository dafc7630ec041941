package result_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/flowship/flowship/submit/result"
)

// FuzzDecode: no stored object breaks the reader, which gives a value, an exception or an error,
// and never too much.
func FuzzDecode(f *testing.F) {
	text, err := os.ReadFile("testdata/results.json")
	if err != nil {
		f.Fatal(err)
	}
	var all []recorded
	if err := json.Unmarshal(text, &all); err != nil {
		f.Fatal(err)
	}
	for _, r := range all {
		f.Add(r.Stored, []byte(r.Data))
	}
	f.Fuzz(func(t *testing.T, stored, data []byte) {
		m, _ := result.ParseMetadata(data)
		v, err := result.Decode(stored, m)
		switch {
		case v == nil:
			t.Fatal("there is no value")
		case (v.JSON != nil) == (v.Exception != nil) && err == nil:
			t.Errorf("JSON %q and exception %v", v.JSON, v.Exception)
		case (v.JSON != nil || v.Exception != nil) && err != nil:
			t.Errorf("JSON %q and exception %v beside the error %v", v.JSON, v.Exception, err)
		case v.JSON != nil && !json.Valid(v.JSON):
			t.Errorf("%q is not JSON", v.JSON)
		case len(v.JSON) > result.MaxStored:
			t.Errorf("%d bytes", len(v.JSON))
		}
	})
}

// FuzzParseMetadata: what is no metadata is the result, and what is written is read again.
func FuzzParseMetadata(f *testing.F) {
	for _, s := range []string{"null", `5`, `{"storage_key": null}`, `{"storage_key": "k", "serializer": "json", "expiration": "2026-01-02T03:04:05Z", "storage_block_id": 5}`,
		`{"storage_key": "/k", "serializer": {"type": "compressed", "serializer": {"type": "json", "object_decoder": null}, "compressionlib": "bz2"}, "prefect_version": "3.8.8"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, ok := result.ParseMetadata(data)
		if ok != (m != nil) {
			t.Fatalf("metadata %v, %v", m, ok)
		}
		if !ok || m.StorageKey == "" {
			return
		}
		payload, again, err := result.Encode(json.RawMessage(`[1]`), m)
		if err != nil {
			return // an expiration that has no text
		}
		read, ok := result.ParseMetadata(again)
		if !ok || read.StorageKey != m.StorageKey || read.StorageBlockID != m.StorageBlockID {
			t.Errorf("%s, written as %s", data, again)
		}
		if v, err := result.Decode(payload, read); err != nil || string(v.JSON) != `[1]` {
			t.Errorf("%s, read as %s, %v", payload, v.JSON, err)
		}
	})
}
