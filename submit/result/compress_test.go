package result

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

// FuzzExpand: nothing that was compressed, or pretends to be, breaks the reader or grows without
// a limit.
func FuzzExpand(f *testing.F) {
	text, err := os.ReadFile("testdata/results.json")
	if err != nil {
		f.Fatal(err)
	}
	var all []struct {
		Stored []byte
		Data   json.RawMessage
	}
	if err := json.Unmarshal(text, &all); err != nil {
		f.Fatal(err)
	}
	for _, r := range all {
		m, ok := ParseMetadata(r.Data)
		if !ok || !m.Serializer.base64() || m.Serializer.Type == "pickle" {
			continue
		}
		packed, err := unwrap(r.Stored)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Serializer.compression(), packed)
	}
	f.Fuzz(func(t *testing.T, module string, packed []byte) {
		b, err := expand(packed, module)
		if err != nil && b != nil || len(b) > MaxSize {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		if again, err2 := expand(packed, module); !bytes.Equal(b, again) || (err == nil) != (err2 == nil) {
			t.Errorf("%v, and again %v", err, err2)
		}
	})
}
