package result

import (
	"encoding/json"
	"strings"
	"time"
)

// Metadata are where a result is, and how it was serialized.
type Metadata struct {
	StorageKey     string      // below the block's folder; without a block an absolute path where the flow ran
	StorageBlockID string      // of the block document; empty for none
	Expiration     time.Time   // after which Prefect does not use the result again; zero for never
	Serializer     *Serializer // nil is the default, a pickle
	PrefectVersion string
}

// Serializer is what wrote a result.
type Serializer struct {
	Type string // "pickle", "json", "compressed", "compressed/pickle", "compressed/json", or a foreign one

	Serializer     *Serializer // what wrote it before it was compressed
	CompressionLib string      // the Python module: "lzma", "bz2", "gzip", "zlib"
	ObjectDecoder  *string     // what reads objects of JSON, by its qualified name; nil for nothing
}

// Prefect's own function that reads the objects which are no plain JSON.
const prefectDecoder = "prefect.serializers.prefect_json_object_decoder"

// UnmarshalJSON reads an object, or the name of a serializer with its defaults. Fields that are
// not understood are left out.
func (s *Serializer) UnmarshalJSON(text []byte) error {
	*s = Serializer{ObjectDecoder: new(prefectDecoder)}
	if json.Unmarshal(text, &s.Type) == nil {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return nil
	}
	s.Type = member[string](members, "type")
	s.CompressionLib = member[string](members, "compressionlib")
	s.Serializer = member[*Serializer](members, "serializer")
	if _, ok := members["object_decoder"]; ok {
		s.ObjectDecoder = member[*string](members, "object_decoder")
	}
	return nil
}

// member returns a member of an object, or the zero value where it is not there or of another type.
func member[T any](members map[string]json.RawMessage, name string) T {
	var v T
	if text, ok := members[name]; !ok || json.Unmarshal(text, &v) != nil {
		var zero T
		return zero
	}
	return v
}

func (s *Serializer) kind() string {
	if s == nil {
		return "pickle"
	}
	return s.Type
}

// base64 reports whether payloads are in base64.
func (s *Serializer) base64() bool {
	return s.kind() == "pickle" || s.kind() == "compressed" || strings.HasPrefix(s.kind(), "compressed/")
}

func (s *Serializer) compression() string {
	if s.CompressionLib == "" {
		return "lzma"
	}
	return s.CompressionLib
}

// inner is what a compressed result was written with.
func (s *Serializer) inner() *Serializer {
	switch {
	case s.Serializer != nil:
		return s.Serializer
	case s.Type == "compressed/json":
		return &Serializer{Type: "json", ObjectDecoder: new(prefectDecoder)}
	}
	return nil
}

// ParseMetadata reads the data of a state. It is not ok where they are no metadata: then they are
// the result itself, or null for none. Of what it does not understand in metadata, the fields are
// empty.
func ParseMetadata(data json.RawMessage) (m *Metadata, ok bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(data, &members) != nil {
		return nil, false
	}
	if _, ok := members["storage_key"]; !ok {
		return nil, false
	}
	return &Metadata{
		StorageKey:     member[string](members, "storage_key"),
		StorageBlockID: member[string](members, "storage_block_id"),
		Expiration:     member[time.Time](members, "expiration"),
		Serializer:     member[*Serializer](members, "serializer"),
		PrefectVersion: member[string](members, "prefect_version"),
	}, true
}

// document is a payload that was stored with its metadata.
type document struct {
	result     []byte
	serialized bool // else the result stands there as JSON
	serializer *Serializer
}

// readDocument reports whether what is stored is such a document; s is what the state says of it.
func readDocument(stored []byte, s *Serializer) (document, bool) {
	var members map[string]json.RawMessage
	if json.Unmarshal(stored, &members) != nil || members == nil {
		return document{}, false
	}
	text, ok := members["data"] // what older versions called it, and what wins in Prefect
	if !ok {
		text, ok = members["result"]
	}
	if !ok {
		return document{}, false
	}
	about := member[map[string]json.RawMessage](members, "metadata")
	if _, ok := members["metadata"]; !ok {
		about = members
	}
	d := document{serializer: member[*Serializer](about, "serializer")}
	// A payload in base64 is no object. Any other may be one, and is then what it is said to be.
	if !s.base64() && (d.serializer == nil || d.serializer.Type == "") {
		return document{}, false
	}
	var payload string
	if d.serialized = json.Unmarshal(text, &payload) == nil && string(text) != "null"; d.serialized {
		d.result = []byte(payload)
	} else {
		d.result = text
	}
	return d, true
}
