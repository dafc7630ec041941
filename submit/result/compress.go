package result

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/mikelolasagasti/xz"
)

// unwrap undoes the base64 around bytes, which has lines.
func unwrap(text []byte) ([]byte, error) {
	text = bytes.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, text)
	if base64.StdEncoding.DecodedLen(len(text)) > MaxSize+3 {
		return nil, fmt.Errorf("it has more than %d bytes", MaxSize)
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(b, text)
	if err != nil {
		return nil, fmt.Errorf("not base64: %w", err)
	}
	return b[:n], nil
}

// expand undoes what a module of Python's library compressed. The dictionary of an xz file takes
// as much memory as its header says, so that is limited as well.
func expand(packed []byte, module string) ([]byte, error) {
	var r io.Reader
	var err error
	switch module {
	case "lzma":
		r, err = xz.NewReader(bytes.NewReader(packed), MaxSize)
	case "bz2":
		r = bzip2.NewReader(bytes.NewReader(packed))
	case "gzip":
		r, err = gzip.NewReader(bytes.NewReader(packed))
	case "zlib":
		r, err = zlib.NewReader(bytes.NewReader(packed))
	default:
		return nil, fmt.Errorf("the compression %q is not known here", module)
	}
	var b []byte
	if err == nil {
		b, err = io.ReadAll(io.LimitReader(r, MaxSize+1))
	}
	if err != nil {
		return nil, fmt.Errorf("the compressed result is damaged: %s: %w", module, err)
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("it has more than %d bytes when it is not compressed", MaxSize)
	}
	return b, nil
}
