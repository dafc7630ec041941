package bundle

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/google/uuid"

	"github.com/flowship/flowship/bundle/pickle"
)

// Runtime says how the executor runs an invocation.
type Runtime string

// The runtimes of documents.
const (
	RuntimePython Runtime = "python" // a Prefect flow or plain function in a Python file
	RuntimeGo     Runtime = "go"     // a flow of a Go program built on the SDK
	RuntimeExec   Runtime = "exec"   // a command line
)

// Invocation is what a bundle calls.
type Invocation struct {
	Runtime      Runtime
	Entrypoint   string   // python: "flow.py:main", relative to the base directory
	Command      []string // exec: the argument vector
	Program      *Program // go: the program to run
	Name         string   // flow run name; used only where FlowRun is nil
	FlowRun      json.RawMessage
	Parameters   json.RawMessage // a JSON object; used only where FlowRun is nil; nil means {}
	Dependencies string          // requirement lines for the job's environment, may be empty
	Include      []string        // the include patterns that selected the files
	Source       bool            // the entrypoint's own source was packed beside them
}

// Program names a Go flow's executable in the same storage.
type Program struct {
	Key  string `json:"key"`
	OS   string `json:"os"`
	Arch string `json:"arch"`
}

// Archive identifies the sidecar's bytes, which the canonical digest does not.
type Archive struct {
	SHA256 Digest
	Size   int64 // bytes
}

// Document is a bundle's JSON document: Prefect's five members and flowship's own.
// FORMAT.md specifies it.
type Document struct {
	Function     string // base64 of gzip of a pickle
	Context      string // base64 of gzip of a pickle
	FlowRun      json.RawMessage
	Dependencies string
	FilesKey     string    // "" when no files travel
	Flowship     *Flowship // nil in documents that Prefect itself made
}

// Flowship is the member that Prefect ignores.
type Flowship struct {
	Runtime    Runtime
	Entrypoint string
	Command    []string
	Program    *Program
	Archive    *Archive // nil when no files travel
	Include    []string // the patterns that selected the files
	Source     bool     // the entrypoint's own source was packed beside them
	Files      []Entry
}

// formatVersion is the version of the flowship member that this package reads and writes.
const formatVersion = 1

// flowRunNamespace makes the ids of documents that no orchestrator gave an id: the same
// invocation of the same files gets the same ids, so that its document is reproducible.
var flowRunNamespace = uuid.MustParse("6f7d2c57-5d4e-5b0e-9c55-3a5d1c1d8f10")

// NewDocument describes the invocation with the files of the manifest, packed as archive.
// Both may be nil: then no files travel.
func NewDocument(inv Invocation, m *Manifest, archive *Archive) (*Document, error) {
	d := &Document{
		FlowRun:      inv.FlowRun,
		Dependencies: inv.Dependencies,
		Flowship: &Flowship{
			Runtime:    inv.Runtime,
			Entrypoint: inv.Entrypoint,
			Command:    inv.Command,
			Program:    inv.Program,
			Include:    inv.Include,
			Source:     inv.Source,
		},
	}
	if m != nil && len(m.Entries) > 0 {
		d.FilesKey = m.FilesKey()
		d.Flowship.Files = m.Entries
		d.Flowship.Archive = archive
	}
	if d.FlowRun == nil {
		run, err := derivedFlowRun(inv, d.FilesKey)
		if err != nil {
			return nil, err
		}
		d.FlowRun = run
	}
	function := pickle.None()
	if inv.Runtime == RuntimePython {
		function = pickle.Entrypoint(inv.Entrypoint)
	}
	d.Function = encodePickle(function)
	// An empty context keeps the submitter's settings, secrets among them, at home.
	d.Context = encodePickle(pickle.EmptyDict())
	return d, nil
}

// derivedFlowRun makes the flow_run member of a bundle that was built without an orchestrator.
func derivedFlowRun(inv Invocation, filesKey string) (json.RawMessage, error) {
	parameters := inv.Parameters
	if parameters == nil {
		parameters = json.RawMessage("{}")
	}
	identity, err := json.Marshal([]any{inv.Runtime, inv.Entrypoint, inv.Command, inv.Name, parameters, inv.Dependencies, filesKey})
	if err != nil {
		return nil, fmt.Errorf("bundle: parameters: %w", err)
	}
	name := inv.Name
	if name == "" {
		name = inv.flowName()
	}
	return json.Marshal(struct {
		ID         uuid.UUID       `json:"id"`
		FlowID     uuid.UUID       `json:"flow_id"`
		Name       string          `json:"name"`
		Parameters json.RawMessage `json:"parameters"`
	}{
		ID:         uuid.NewSHA1(flowRunNamespace, identity),
		FlowID:     uuid.NewSHA1(flowRunNamespace, []byte(inv.flowName())),
		Name:       name,
		Parameters: parameters,
	})
}

// flowName is what the invocation's flow is called where nobody named it.
func (inv Invocation) flowName() string {
	if inv.Runtime == RuntimeExec && len(inv.Command) > 0 {
		return inv.Command[0]
	}
	return inv.Entrypoint
}

func encodePickle(p []byte) string {
	var buf bytes.Buffer
	w, _ := gzip.NewWriterLevel(&buf, gzip.BestCompression) // the level is valid; a Buffer never fails
	w.Write(p)
	w.Close()
	return base64.StdEncoding.EncodeToString(buf.Bytes())
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

// Manifest returns the document's files, or nil when it has no flowship member: then only the
// sidecar knows them.
func (d *Document) Manifest() *Manifest {
	if d.Flowship == nil {
		return nil
	}
	m := &Manifest{Entries: d.Flowship.Files}
	if d.FilesKey != "" {
		m.Digest, _ = ParseFilesKey(d.FilesKey) // ReadDocument and NewDocument made sure of it
	}
	return m
}

// FlowRunID returns the id in the flow_run member, or "".
func (d *Document) FlowRunID() string {
	var run struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(d.FlowRun, &run) != nil {
		return ""
	}
	return run.ID
}

// Parameters returns the arguments of the invocation as a JSON object.
func (d *Document) Parameters() json.RawMessage {
	var run struct {
		Parameters json.RawMessage `json:"parameters"`
	}
	if json.Unmarshal(d.FlowRun, &run) != nil || len(run.Parameters) == 0 {
		return json.RawMessage("{}")
	}
	return run.Parameters
}

// Write encodes the document to w and returns the digest of the written bytes. The same
// document gives the same bytes.
func (d *Document) Write(w io.Writer) (Digest, error) {
	h := sha256.New()
	buf := bufio.NewWriterSize(io.MultiWriter(w, h), 1<<16)
	e := &objectWriter{w: buf}
	e.begin()
	e.member("function", d.Function)
	e.member("context", d.Context)
	e.member("flow_run", d.FlowRun)
	e.member("dependencies", d.Dependencies)
	e.member("files_key", nullable(d.FilesKey))
	if f := d.Flowship; f != nil {
		e.key("flowship")
		f.write(e)
	}
	e.end()
	if e.err == nil {
		e.err = buf.Flush()
	}
	var digest Digest
	h.Sum(digest[:0])
	if e.err != nil {
		return Digest{}, fmt.Errorf("bundle: write document: %w", e.err)
	}
	return digest, nil
}

func (f *Flowship) write(e *objectWriter) {
	e.begin()
	e.member("version", formatVersion)
	e.member("runtime", f.Runtime)
	e.member("entrypoint", f.Entrypoint)
	e.member("command", notNull(f.Command))
	e.member("program", f.Program)
	if f.Archive == nil {
		e.member("archive", nil)
	} else {
		e.member("archive", archiveJSON{SHA256: f.Archive.SHA256.Hex(), Size: f.Archive.Size})
	}
	e.member("include", notNull(f.Include))
	e.member("source", f.Source)
	e.key("files")
	e.raw("[")
	for i := range f.Files {
		if i > 0 {
			e.raw(", ")
		}
		e.value(entryJSON{Path: f.Files[i].Path, Mode: f.Files[i].Mode.String(), Size: f.Files[i].Size, SHA256: f.Files[i].SHA256.Hex()})
	}
	e.raw("]")
	e.end()
}

type archiveJSON struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

type entryJSON struct {
	Path   string `json:"path"`
	Mode   string `json:"mode"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func notNull(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

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
	if version != formatVersion {
		return fmt.Errorf("flowship: format version %d; this flowship reads version %d", version, formatVersion)
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
