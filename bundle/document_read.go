package bundle

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// ReadDocument parses and checks a document. Unknown members are ignored, as Prefect does;
// members of the wrong type, pickles that do not decode and inconsistent file lists are a
// [Error] of kind tampered.
func ReadDocument(r io.Reader) (*Document, error) {
	d := &Document{}
	dec := json.NewDecoder(bufio.NewReaderSize(r, 1<<16))
	var function, context *string
	err := decodeObject(dec, func(key string) error {
		switch key {
		case "function":
			return dec.Decode(&function)
		case "context":
			return dec.Decode(&context)
		case "flow_run":
			return dec.Decode(&d.FlowRun)
		case "dependencies":
			return dec.Decode(&d.Dependencies)
		case "files_key":
			d.FilesKey = ""
			return dec.Decode(&d.FilesKey)
		case "flowship":
			d.Flowship = &Flowship{}
			return d.Flowship.read(dec)
		}
		return skipValue(dec)
	})
	if err != nil {
		return nil, documentError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, documentError(errors.New("text after the JSON object"))
	}
	if function == nil || context == nil {
		return nil, documentError(errors.New(`not a bundle: "function" and "context" must be strings`))
	}
	d.Function, d.Context = *function, *context
	if err := d.check(); err != nil {
		return nil, documentError(err)
	}
	return d, nil
}

func (f *Flowship) read(dec *json.Decoder) error {
	version := 0
	err := decodeObject(dec, func(key string) error {
		switch key {
		case "version":
			return dec.Decode(&version)
		case "runtime":
			return dec.Decode(&f.Runtime)
		case "entrypoint":
			return dec.Decode(&f.Entrypoint)
		case "command":
			return dec.Decode(&f.Command)
		case "program":
			return dec.Decode(&f.Program)
		case "archive":
			var a *archiveJSON
			if err := dec.Decode(&a); err != nil || a == nil {
				return err
			}
			digest, err := ParseDigest(a.SHA256)
			if err != nil {
				return err
			}
			f.Archive = &Archive{SHA256: digest, Size: a.Size}
			return nil
		case "include":
			return dec.Decode(&f.Include)
		case "source":
			return dec.Decode(&f.Source)
		case "files":
			return f.readFiles(dec)
		}
		return skipValue(dec)
	})
	if err != nil {
		return fmt.Errorf("flowship: %w", err)
	}
	if version != FormatVersion {
		return fmt.Errorf("flowship: format version %d; this flowship reads version %d", version, FormatVersion)
	}
	return nil
}

func (f *Flowship) readFiles(dec *json.Decoder) error {
	if t, err := dec.Token(); err != nil {
		return err
	} else if t != json.Delim('[') {
		return errors.New("files: not a list")
	}
	f.Files = nil
	for dec.More() {
		var e entryJSON
		if err := dec.Decode(&e); err != nil {
			return err
		}
		mode, err := ParseMode(e.Mode)
		if err != nil {
			return fmt.Errorf("files: %q: %w", e.Path, err)
		}
		digest, err := ParseDigest(e.SHA256)
		if err != nil {
			return fmt.Errorf("files: %q: %w", e.Path, err)
		}
		f.Files = append(f.Files, Entry{Path: e.Path, Mode: mode, Size: e.Size, SHA256: digest})
	}
	_, err := dec.Token()
	return err
}

// check asserts what the members promise about each other.
func (d *Document) check() error {
	var run map[string]json.RawMessage
	if err := json.Unmarshal(d.FlowRun, &run); err != nil || run == nil {
		return errors.New("flow_run is not an object")
	}
	for _, m := range []struct{ name, text string }{{"function", d.Function}, {"context", d.Context}} {
		if _, err := DecodePickle(m.text); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	if d.FilesKey != "" {
		if _, err := ParseFilesKey(d.FilesKey); err != nil {
			return err
		}
	}
	f := d.Flowship
	if f == nil {
		return nil
	}
	if !slices.Contains([]Runtime{RuntimePython, RuntimeGo, RuntimeExec}, f.Runtime) {
		return fmt.Errorf("unknown runtime %q", f.Runtime)
	}
	if f.Runtime == RuntimeExec && len(f.Command) == 0 {
		return errors.New("runtime exec without a command")
	}
	if (d.FilesKey == "") != (len(f.Files) == 0) || (d.FilesKey == "") != (f.Archive == nil) {
		return errors.New("files_key, archive and files do not agree on whether files travel")
	}
	if f.Archive != nil && f.Archive.Size < 0 {
		return fmt.Errorf("archive size %d", f.Archive.Size)
	}
	seen := make(map[string]struct{}, len(f.Files))
	for i := range f.Files {
		e := &f.Files[i]
		if e.Size < 0 {
			return fmt.Errorf("%q: size %d", e.Path, e.Size)
		}
		if err := checkName(e.Path); err != nil {
			return err
		}
		if _, dup := seen[e.Path]; dup {
			return fmt.Errorf("%q is listed twice", e.Path)
		}
		seen[e.Path] = struct{}{}
	}
	return nil
}

func documentError(err error) error {
	return &Error{Kind: KindTampered, Path: documentName, Reason: "not a valid bundle document", Err: err}
}

// maxPickle bounds what a pickle of a foreign document may inflate to.
const maxPickle = 256 << 20

// DecodePickle undoes base64 and gzip of a document's function or context. It does not
// look at the pickle; see [pickle.Decode].
func DecodePickle(member string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(member)
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	p, err := io.ReadAll(io.LimitReader(r, maxPickle+1))
	if err != nil {
		return nil, err
	}
	if len(p) > maxPickle {
		return nil, fmt.Errorf("inflates to more than %d bytes", maxPickle)
	}
	return p, nil
}
