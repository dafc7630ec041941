package result_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flowship/flowship/submit/result"
)

func TestParseMetadata(t *testing.T) {
	decoder := "prefect.serializers.prefect_json_object_decoder"
	for _, test := range []struct {
		data string
		want *result.Metadata // nil if it is none
	}{
		{`null`, nil},
		{``, nil},
		{`5`, nil},
		{`["storage_key"]`, nil},
		{`{"key": "k"}`, nil},
		{`{"storage_key": null}`, &result.Metadata{}},
		{`{"storage_key": "k", "expiration": null, "serializer": {"type": "pickle", "picklelib": "cloudpickle", "picklelib_version": null}, "prefect_version": "3.8.8", "storage_block_id": null}`,
			&result.Metadata{StorageKey: "k", PrefectVersion: "3.8.8", Serializer: &result.Serializer{Type: "pickle", ObjectDecoder: &decoder}}},
		{`{"storage_key": "k", "expiration": "2026-01-02T03:04:05.5Z", "storage_block_id": "b", "serializer": {"type": "compressed", "serializer": {"type": "json", "object_decoder": null}, "compressionlib": "bz2"}}`,
			&result.Metadata{StorageKey: "k", StorageBlockID: "b", Expiration: time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC),
				Serializer: &result.Serializer{Type: "compressed", CompressionLib: "bz2", ObjectDecoder: &decoder, Serializer: &result.Serializer{Type: "json"}}}},
		{`{"storage_key": 1, "serializer": "json", "prefect_version": []}`, &result.Metadata{Serializer: &result.Serializer{Type: "json", ObjectDecoder: &decoder}}},
	} {
		got, ok := result.ParseMetadata([]byte(test.data))
		if diff := cmp.Diff(test.want, got); diff != "" || ok != (test.want != nil) {
			t.Errorf("%s: %v (-want +got):\n%s", test.data, ok, diff)
		}
	}
}

func wrapped(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func TestDecodeRefuses(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, result.MaxSize+1)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	// The beginning of a block whose header asks for a dictionary of 4 GiB - 1.
	const xz = "\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01(\x00\x00\x00\xe6\xa0\x11\xb3"
	shared := "](X\x00\x00\x10\x00" + strings.Repeat("a", 1<<20) + "q\x00" + strings.Repeat("h\x00", 100) + "e."
	nested := strings.Repeat(`{"type": "compressed", "serializer": `, 6) + `"json"` + strings.Repeat("}", 6)
	inside := []byte("5")
	for range 6 {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(inside)
		z.Close()
		inside = []byte(wrapped(b.Bytes()))
	}
	nested = strings.ReplaceAll(nested, `"compressed", `, `"compressed", "compressionlib": "gzip", `)
	for _, test := range []struct{ name, serializer, stored, want, raw string }{
		{"foreign serializer", `{"type": "mine"}`, "x", `result: the serializer "mine" is not known here`, "x"},
		{"serializer without a type", `{}`, "x", `result: the serializer "" is not known here`, "x"},
		{"foreign serializer of an object", `{"type": "mine"}`, `{"result": "x"}`, `result: the serializer "mine" is not known here`, `{"result": "x"}`},
		{"foreign compression", `{"type": "compressed/json", "compressionlib": "blosc"}`, wrapped([]byte("x")), `result: the compression "blosc" is not known here`, "x"},
		{"no base64", `"pickle"`, "%", "result: the pickle is damaged: not base64: illegal base64 data at input byte 0", "%"},
		{"no pickle", `"pickle"`, wrapped([]byte("]")), "result: pickle: byte 1: ends in the middle", "]"},
		{"nothing", `"pickle"`, "", "result: pickle: byte 0: ends in the middle", ""},
		{"no JSON", `"json"`, "{", "result: the JSON text is damaged", "{"},
		{"no JSON at all", `"json"`, "", "result: the JSON text is damaged", ""},
		{"no text", `"json"`, "\"\xff\"", "result: the JSON text is damaged", "\"\xff\""},
		{"not a number", `"json"`, `{"\"NaN": [-Infinity, NaN]}`, "result: it holds NaN or Infinity, which JSON does not have", `{"\"NaN": [-Infinity, NaN]}`},
		{"no lzma", `"compressed/json"`, wrapped([]byte("x")), "result: the compressed result is damaged: lzma: xz: data is truncated or corrupt", "x"},
		{"huge dictionary", `"compressed/json"`, wrapped([]byte(xz)), "result: the compressed result is damaged: lzma: xz: LZMA2 dictionary size exceeds max", xz},
		{"bomb", `{"type": "compressed/json", "compressionlib": "gzip"}`, wrapped(bomb.Bytes()), "result: it has more than 67108864 bytes when it is not compressed", bomb.String()},
		{"a long text again and again", `"pickle"`, wrapped([]byte(shared)), "result: it has more than 67108864 bytes as JSON", shared},
		{"nested", nested, string(inside), "result: more than 4 serializers inside each other", ""},
		{"key of a dict", `"pickle"`, wrapped([]byte("}(NNtNs.")), "result: pickle: a key of a dict is of type pickle.Tuple", "}(NNtNs."},
		{"document with a foreign serializer", `"pickle"`, `{"metadata": {"serializer": {"type": "mine"}}, "result": "x"}`, `result: the serializer "mine" is not known here`, "x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, ok := result.ParseMetadata(json.RawMessage(`{"storage_key": "k", "serializer": ` + test.serializer + `}`))
			if !ok {
				t.Fatal("no metadata")
			}
			v, err := result.Decode([]byte(test.stored), m)
			if err == nil {
				t.Fatalf("no error, value %.100q", v.JSON)
			}
			if diff := cmp.Diff(test.want, err.Error()); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if v.JSON != nil || v.Exception != nil || test.raw != "" && string(v.Raw) != test.raw {
				t.Errorf("value %.100q, exception %v, raw %.100q", v.JSON, v.Exception, v.Raw)
			}
		})
	}
}

// What a run that failed stored is an exception, also where the pickle only names its class.
func TestNotPlain(t *testing.T) {
	for _, test := range []struct {
		pickle, want string
		exception    *result.Exception
	}{
		{"cflow\nFailed\n(Vno\nK\x05tR.", `result: not a plain value: only Python could build "flow.Failed"`, &result.Exception{Type: "flow.Failed", Message: "('no', 5)"}},
		{"](cflow\nA\n)Rcflow\nB\n)Re.", `result: not a plain value: only Python could build "flow.A"`, nil},
		{"cflow\nA\n.", `result: not a plain value: only Python could build "flow.A"`, nil},
		{"ccopy_reg\n_reconstructor\n(cflow\nA\nc__builtin__\nobject\nNtR.", `result: not a plain value: only Python could build "flow.A"`, &result.Exception{Type: "flow.A", Message: "(<flow.A>, <__builtin__.object>, None)"}},
		{"]Pfile\na.", `result: not a plain value: only Python could build it`, nil},
	} {
		v, err := result.Decode([]byte(wrapped([]byte(test.pickle))), nil)
		wrong, ok := errors.AsType[*result.NotPlainError](err)
		if !ok {
			t.Errorf("%q: value %s, error %v", test.pickle, v.JSON, err)
			continue
		}
		if diff := cmp.Diff(test.want, wrong.Error()); diff != "" {
			t.Errorf("%q: error (-want +got):\n%s", test.pickle, diff)
		}
		if diff := cmp.Diff(test.exception, wrong.Exception()); diff != "" {
			t.Errorf("%q: exception (-want +got):\n%s", test.pickle, diff)
		}
		if string(v.Raw) != test.pickle {
			t.Errorf("%q: raw %q", test.pickle, v.Raw)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, test := range []struct {
		value string
		m     *result.Metadata
		want  string
	}{
		{"1", nil, "result: there is no key to store it under"},
		{"1", &result.Metadata{}, "result: there is no key to store it under"},
		{"NaN", &result.Metadata{StorageKey: "k"}, "result: it is not JSON"},
	} {
		if _, _, err := result.Encode(json.RawMessage(test.value), test.m); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, want %s", test.value, err, test.want)
		}
	}
}

func TestExceptionText(t *testing.T) {
	for want, e := range map[string]*result.Exception{
		"ValueError: as asked": {Type: "builtins.ValueError", Message: "as asked"},
		"flow.Failed":          {Type: "flow.Failed"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
