package bundle

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

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
	Entrypoint   string   // python: "flow.py:main", relative to the base directory; go: "path/dir:train"
	Command      []string // exec: the argument vector
	Program      *Program // go: the program to run
	Name         string   // flow run name; used only where FlowRun is nil
	FlowRun      json.RawMessage
	Parameters   json.RawMessage // a JSON object; used only where FlowRun is nil; nil means {}
	Dependencies string          // requirement lines for the job's environment, may be empty
	Include      []string        // the include patterns that selected the files
	Source       bool            // the entrypoint's own source was packed beside them
	// FlowOptions, python: are those of Prefect's Flow.with_options, for the flow to be run with.
	// Values are as for [pickle.WithOptions].
	FlowOptions map[string]any
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

// FormatVersion is the version of the flowship member that this package reads and writes.
const FormatVersion = 1

// flowRunNamespace makes the ids of documents that no orchestrator gave an id: the same
// invocation of the same files gets the same ids, so that its document is reproducible.
var flowRunNamespace = uuid.MustParse("6f7d2c57-5d4e-5b0e-9c55-3a5d1c1d8f10")

// NewDocument describes the invocation with the files of the manifest, packed as archive.
// Both may be nil: then no files travel.
func NewDocument(inv Invocation, m *Manifest, archive *Archive) (*Document, error) {
	if err := inv.checkText(); err != nil {
		return nil, err
	}
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
		if len(inv.FlowOptions) > 0 {
			var err error
			if function, err = pickle.WithOptions(function, inv.FlowOptions); err != nil {
				return nil, fmt.Errorf("bundle: %w", err)
			}
		}
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
	var compact bytes.Buffer
	if err := json.Compact(&compact, parameters); err != nil {
		return nil, fmt.Errorf("bundle: parameters: %w", err)
	}
	var identity []byte
	words := append([]string{string(inv.Runtime), inv.Entrypoint, inv.Name, compact.String(), inv.Dependencies, filesKey}, inv.Command...)
	if inv.Program != nil {
		words = append(words, inv.Program.Key)
	}
	for _, s := range words {
		identity = binary.BigEndian.AppendUint32(identity, uint32(len(s)))
		identity = append(identity, s...)
	}
	name := inv.Name
	if name == "" {
		name = inv.flowName()
	}
	var run bytes.Buffer
	err := encode(&run, struct {
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
	return run.Bytes(), err
}

// checkText refuses text that JSON cannot hold: it would silently become something else.
func (inv Invocation) checkText() error {
	for _, s := range slices.Concat([]string{inv.Entrypoint, inv.Name, inv.Dependencies, string(inv.FlowRun), string(inv.Parameters)}, inv.Command, inv.Include) {
		if !utf8.ValidString(s) {
			return &Error{Kind: KindRefused, Path: s, Reason: "is not UTF-8"}
		}
	}
	return nil
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
	e.member("version", FormatVersion)
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
