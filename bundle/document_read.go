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
			return decode(dec, &function)
		case "context":
			return decode(dec, &context)
		case "flow_run":
			return decode(dec, &d.FlowRun)
		case "dependencies":
			return decode(dec, &d.Dependencies)
		case "files_key":
			return dec.Decode(&d.FilesKey) // null means none
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
			return decode(dec, &version)
		case "runtime":
			return decode(dec, &f.Runtime)
		case "entrypoint":
			return decode(dec, &f.Entrypoint)
		case "command":
			return decodeStrings(dec, &f.Command)
		case "program":
			return f.readProgram(dec)
		case "archive":
			return f.readArchive(dec)
		case "include":
			return decodeStrings(dec, &f.Include)
		case "source":
			return decode(dec, &f.Source)
		case "files":
			return f.readFiles(dec)
		}
		return skipValue(dec)
	})
	if err != nil {
		return err
	}
	if version != FormatVersion {
		return fmt.Errorf("format version %d; this flowship reads version %d", version, FormatVersion)
	}
	return nil
}

func (f *Flowship) readFiles(dec *json.Decoder) error {
	if t, err := dec.Token(); err != nil {
		return err
	} else if t != json.Delim('[') {
		return errors.New("not a list")
	}
	f.Files = nil
	for dec.More() {
		var e Entry
		err := decodeObject(dec, func(key string) (err error) {
			var text string
			switch key {
			case "path":
				return decode(dec, &e.Path)
			case "mode":
				if err = decode(dec, &text); err == nil {
					e.Mode, err = ParseMode(text)
				}
				return err
			case "size":
				return decode(dec, &e.Size)
			case "sha256":
				if err = decode(dec, &text); err == nil {
					e.SHA256, err = parseHex(text)
				}
				return err
			}
			return skipValue(dec)
		})
		if err == nil && (e.Mode == 0 || e.SHA256.IsZero()) {
			err = errors.New("mode or sha256 is missing")
		}
		if err != nil {
			return fmt.Errorf("%q: %w", e.Path, err)
		}
		f.Files = append(f.Files, e)
	}
	_, err := dec.Token()
	return err
}

func (f *Flowship) readProgram(dec *json.Decoder) error {
	p := &Program{}
	null, err := decodeOptional(dec, func(dec *json.Decoder, key string) error {
		switch key {
		case "key":
			return decode(dec, &p.Key)
		case "os":
			return decode(dec, &p.OS)
		case "arch":
			return decode(dec, &p.Arch)
		}
		return skipValue(dec)
	})
	if !null {
		f.Program = p
	}
	return err
}

func (f *Flowship) readArchive(dec *json.Decoder) error {
	a := &Archive{}
	null, err := decodeOptional(dec, func(dec *json.Decoder, key string) (err error) {
		switch key {
		case "sha256":
			var text string
			if err = decode(dec, &text); err == nil {
				a.SHA256, err = parseHex(text)
			}
			return err
		case "size":
			return decode(dec, &a.Size)
		}
		return skipValue(dec)
	})
	if !null {
		f.Archive = a
	}
	return err
}

// check asserts what the members promise about each other.
func (d *Document) check() error {
	if err := checkFlowRun(d.FlowRun); err != nil {
		return err
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
	switch {
	case f.Runtime == RuntimeExec && (len(f.Command) == 0 || f.Command[0] == ""):
		return errors.New("runtime exec without a command")
	case f.Runtime == RuntimePython && f.Entrypoint == "":
		return errors.New("runtime python without an entrypoint")
	case f.Runtime == RuntimeGo && (f.Program == nil || f.Program.Key == ""):
		return errors.New("runtime go without a program")
	}
	if (d.FilesKey == "") != (len(f.Files) == 0) || (d.FilesKey == "") != (f.Archive == nil) {
		return errors.New("files_key, archive and files do not agree on whether files travel")
	}
	if f.Archive != nil && (f.Archive.Size <= 0 || f.Archive.SHA256.IsZero()) {
		return errors.New("archive: sha256 or size is missing")
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

// checkFlowRun looks at the members of flow_run that are used.
func checkFlowRun(text json.RawMessage) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	id, parameters := "", map[string]json.RawMessage{}
	err := decodeObject(dec, func(key string) error {
		switch key {
		case "id":
			return decode(dec, &id)
		case "parameters":
			return decode(dec, &parameters)
		}
		return skipValue(dec)
	})
	if err != nil {
		return fmt.Errorf("flow_run: %w", err)
	}
	if id == "" {
		return errors.New("flow_run: no id")
	}
	return nil
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
