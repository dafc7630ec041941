package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// fromJSON takes a JSON text as Python writes it.
func (v *Value) fromJSON(text []byte, s *Serializer) error {
	text = bytes.TrimSpace(text)
	if !json.Valid(text) || !utf8.Valid(text) {
		if utf8.Valid(text) && json.Valid(withoutNonNumbers(text)) {
			return errNotJSON()
		}
		return errors.New("result: the JSON text is damaged")
	}
	if text[0] == '{' && s.ObjectDecoder != nil && *s.ObjectDecoder == prefectDecoder {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(text, &members); err != nil {
			return errors.New("result: the JSON text is damaged")
		}
		_, object := members["__class__"]
		if name := member[string](members, "__exc_type__"); name != "" && !object {
			v.Exception = &Exception{Type: name, Message: member[string](members, "message")}
			return nil
		}
	}
	v.JSON = text
	return nil
}

// withoutNonNumbers puts 0 in the place of the words by which Python's JSON goes beyond the
// standard.
func withoutNonNumbers(text []byte) []byte {
	var b []byte
	inString := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		if inString && c == '\\' && i+1 < len(text) {
			b = append(b, c, text[i+1])
			i++
			continue
		}
		if c == '"' {
			inString = !inString
		}
		if !inString {
			if word := nonNumber(text[i:]); word != "" {
				b = append(b, '0')
				i += len(word) - 1
				continue
			}
		}
		b = append(b, c)
	}
	return b
}

func nonNumber(text []byte) string {
	for _, word := range []string{"NaN", "Infinity"} { // a minus before it is that of 0
		if bytes.HasPrefix(text, []byte(word)) {
			return word
		}
	}
	return ""
}
