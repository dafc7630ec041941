package result_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/cmd/testbed/started"
	"github.com/flowship/flowship/submit/result"
)

// recorded is what Prefect stored, and what is in it.
type recorded struct {
	Name    string
	Stored  []byte
	Data    json.RawMessage
	JSON    string
	NotJSON bool
	// The class of what is no plain value.
	NotPlain           string
	Exception, Message string
}

func (r *recorded) test(t *testing.T) {
	m, ok := result.ParseMetadata(r.Data)
	if !ok {
		t.Fatalf("no metadata: %s", r.Data)
	}
	v, err := result.Decode(r.Stored, m)
	got := recorded{Name: r.Name, Stored: r.Stored, Data: r.Data, JSON: sameJSON(t, v.JSON), NotJSON: errors.Is(err, result.ErrNotJSON)}
	if wrong, ok := errors.AsType[*result.NotPlainError](err); ok {
		got.NotPlain = wrong.Global
	} else if err != nil && !got.NotJSON {
		t.Errorf("%v", err)
	}
	if v.Exception != nil {
		got.Exception, got.Message = v.Exception.Type, v.Exception.Message
	}
	want := *r
	want.JSON = sameJSON(t, []byte(r.JSON))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	if len(v.Raw) == 0 {
		t.Error("there are no raw bytes")
	}
}

// sameJSON writes a JSON text in the one way that all writers of it can agree upon.
func sameJSON(t *testing.T, text []byte) string {
	t.Helper()
	if text == nil {
		return ""
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); len(text) > 0 && err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if len(text) == 0 {
		return ""
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestDecodeRecorded(t *testing.T) {
	text, err := os.ReadFile("testdata/results.json")
	if err != nil {
		t.Fatal(err)
	}
	testAll(t, text)
}

func testAll(t *testing.T, text []byte) {
	var all []recorded
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < 100 {
		t.Errorf("%d results", len(all))
	}
	for _, r := range all {
		t.Run(r.Name, r.test)
	}
}

// python runs the script with the Python that has Prefect, or skips the test.
func python(t *testing.T, mode string, input []byte) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), started.Python(t), "testdata/results.py", mode)
	cmd.Env = append(os.Environ(), "PREFECT_HOME="+t.TempDir(), "DO_NOT_TRACK=1")
	cmd.Stdin = bytes.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.Bytes())
	}
	return out.Bytes()
}

func TestDecodeWhatPrefectWrites(t *testing.T) {
	testAll(t, python(t, "write", nil))
}

func TestPrefectReadsWhatIsEncoded(t *testing.T) {
	type stored struct {
		Stored []byte          `json:"stored"`
		Data   json.RawMessage `json:"data"`
	}
	want := []string{`5`, `null`, `"<é\u2028>"`, `{"result":5}`, `{"data":"abc","metadata":{}}`, `{"__class__":"builtins.set","data":[1]}`,
		`[{"__exc_type__":"builtins.ValueError","message":"no"}]`, `1.5e+300`}
	var all []stored
	for _, value := range want {
		m := &result.Metadata{StorageKey: "k", StorageBlockID: "7f3b1fd0-5d7c-4f0e-8a36-0a2d3f0b8c11", PrefectVersion: "3.8.8", Expiration: time.Now().Add(time.Hour)}
		payload, data, err := result.Encode(json.RawMessage(value), m)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, stored{payload, data})

		read, ok := result.ParseMetadata(data)
		if !ok || read.StorageKey != m.StorageKey || read.StorageBlockID != m.StorageBlockID || !read.Expiration.Equal(m.Expiration) {
			t.Errorf("metadata %s, read as %+v, %v", data, read, ok)
		}
		v, err := result.Decode(payload, read)
		if err != nil || string(v.JSON) != value {
			t.Errorf("%s: read as %s, %v", value, v.JSON, err)
		}
	}
	input, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	var values []json.RawMessage
	if err := json.Unmarshal(python(t, "read", input), &values); err != nil {
		t.Fatal(err)
	}
	if len(values) != len(want) {
		t.Fatalf("%d values, want %d", len(values), len(want))
	}
	for i := range want {
		if diff := cmp.Diff(sameJSON(t, []byte(want[i])), sameJSON(t, values[i])); diff != "" {
			t.Errorf("read by Prefect (-want +got):\n%s", diff)
		}
	}
}
