package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Encode returns what to store for a result that is JSON, and the data of the state that says so:
// Prefect's client reads the same value from it. Of the metadata, the storage key is needed, and
// the serializer is not asked for.
//
// The payload is the document with metadata, for which no value can be mistaken, and in it the
// value is plain JSON: an object with a member "__class__" is not made an object of that class.
func Encode(value json.RawMessage, m *Metadata) (payload []byte, data json.RawMessage, err error) {
	if m == nil || m.StorageKey == "" {
		return nil, nil, errors.New("result: there is no key to store it under")
	}
	if !json.Valid(value) {
		return nil, nil, errors.New("result: it is not JSON")
	}
	if len(value) > MaxSize {
		return nil, nil, fmt.Errorf("result: it has %d bytes, more than %d", len(value), MaxSize)
	}
	meta := struct {
		StorageKey string         `json:"storage_key"`
		Expiration *time.Time     `json:"expiration"`
		Serializer map[string]any `json:"serializer"`
		Version    string         `json:"prefect_version,omitempty"`
		BlockID    *string        `json:"storage_block_id"`
	}{StorageKey: m.StorageKey, Version: m.PrefectVersion, Serializer: map[string]any{
		"type": "json", "jsonlib": "json", "object_encoder": nil, "object_decoder": nil,
		"dumps_kwargs": struct{}{}, "loads_kwargs": struct{}{},
	}}
	if !m.Expiration.IsZero() {
		meta.Expiration = &m.Expiration
	}
	if m.StorageBlockID != "" {
		meta.BlockID = &m.StorageBlockID
	}
	if data, err = marshal(meta); err != nil {
		return nil, nil, fmt.Errorf("result: %w", err)
	}
	payload, err = marshal(struct {
		Metadata json.RawMessage `json:"metadata"`
		Result   string          `json:"result"`
	}{data, string(value)})
	if err != nil {
		return nil, nil, fmt.Errorf("result: %w", err)
	}
	return payload, data, nil
}

// marshal leaves <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
