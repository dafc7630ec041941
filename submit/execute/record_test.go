package execute_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/execute"
	"github.com/flowship/flowship/submit/orchestrator"
)

// accepting takes whatever state is proposed.
type accepting struct{ state orchestrator.State }

func (a *accepting) SetState(_ context.Context, _ string, s orchestrator.State, _ *orchestrator.SetStateOptions) (*orchestrator.Outcome, error) {
	a.state = s
	return &orchestrator.Outcome{Status: orchestrator.Accepted, State: s}, nil
}

// A state takes a short result along, unless it would be taken for something else.
func TestData(t *testing.T) {
	long := `"` + strings.Repeat("x", 64<<10) + `"`
	for result, want := range map[string]string{
		`{"a":1}`: `{"a":1}`, `"storage_key"`: `"storage_key"`, `null`: `null`, long: "", `{"storage_key":"x","a":1}`: "",
	} {
		a := &accepting{}
		r := &execute.Record{ID: "r", State: orchestrator.NewState(orchestrator.TypeCompleted, ""), Result: json.RawMessage(result)}
		if err := r.Settle(t.Context(), "", a, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(a.state.Data)); diff != "" {
			t.Errorf("data for %.40s (-want +got):\n%s", result, diff)
		}
	}
}

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
