package execute_test

import (
	"bytes"
	"testing"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
)

// Anyone who can write to the store can write records.
func FuzzReadRecord(f *testing.F) {
	for _, text := range []string{
		`{"id":"r","state":{"type":"COMPLETED","name":"Completed","message":"","timestamp":"2026-01-02T03:04:05Z"},"exit_code":0,"result":null}`,
		`{"id":"other"}`, `{"id":"r","exit_code":"0"}`, `[]`, `null`, ``, `{"id":"r","result":{"a":[1,{}]}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		url, err := storage.FolderURL(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		s, err := storage.Open(t.Context(), url, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Put(t.Context(), execute.RecordKey("r"), bytes.NewReader(text), storage.PutOptions{Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		r, err := execute.ReadRecord(t.Context(), url, "r", nil)
		if (err == nil) != (r != nil && r.ID == "r") {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
