package submit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/orchestrator"
)

// Invocation is what is to be run, and with what.
type Invocation struct {
	// Runtime says what is run: RuntimeExec, also for "", a Command, RuntimePython the flow at
	// an Entrypoint.
	Runtime bundle.Runtime
	// Command is the argument vector, run in a directory that holds the files.
	Command []string
	// Entrypoint is a function in a Python file, "flow.py:main", relative to Dir.
	Entrypoint string
	// NoSource has the flow's file and the local modules that it imports stay behind.
	NoSource bool

	// Dir is the base directory of the include patterns; "" is the current one.
	Dir string
	// Include are the patterns that select the files that travel, as Prefect reads them.
	Include []string
	// Parameters is a JSON object of at most 16 MiB; nil is an empty one.
	Parameters json.RawMessage
	// Name is the flow run's; "" is a random one.
	Name string
	Tags []string
	// Timeout is how long it may run; 0 is without end.
	Timeout time.Duration
	// Keep leaves the working directory behind, see [Run.Dir].
	Keep bool
	// Stdout and Stderr get what the command or the flow prints as it comes; nil discards it.
	// An *os.File becomes its own.
	Stdout, Stderr io.Writer

	// Kill, when closed, has a run that is being cancelled killed at once; nil never is.
	Kill <-chan struct{}

	// NoCache reads every file, whatever the cache remembers of it.
	NoCache bool
	// Collected, if not nil, is called with the chosen files before any is read.
	Collected func(*bundle.Collection)
	// Progress, if not nil, is called when a step begins that may take long ("hash", "verify",
	// "pack", "upload"), with the number of bytes to come. It returns what is to be called with each
	// further number of bytes, and at the end.
	Progress func(step string, total int64) (add func(bytes int64), done func())
}

// InvalidError: there can be no such run, whatever the state of the system.
type InvalidError struct{ Reason string }

func (e *InvalidError) Error() string { return e.Reason }

// maxParameters is the size in bytes of the largest parameters: they are held in memory, in
// several copies.
const maxParameters = 16 << 20

// check completes the invocation, and refuses one that can never be run.
func (inv *Invocation) check() error {
	if inv.Runtime == "" {
		inv.Runtime = bundle.RuntimeExec
	}
	switch {
	case inv.Runtime != bundle.RuntimeExec && inv.Runtime != bundle.RuntimePython:
		return &InvalidError{fmt.Sprintf("runtime %q cannot be run", inv.Runtime)}
	case inv.Runtime == bundle.RuntimePython && inv.Entrypoint == "":
		return &InvalidError{"no entrypoint"}
	case inv.Runtime == bundle.RuntimeExec && (len(inv.Command) == 0 || inv.Command[0] == ""):
		return &InvalidError{"no command"}
	case inv.Entrypoint != "" && inv.Command != nil:
		return &InvalidError{"both an entrypoint and a command"}
	}
	for _, text := range slices.Concat(inv.Command, inv.Tags, []string{inv.Name, inv.Entrypoint}) {
		switch {
		case !utf8.ValidString(text):
			return &InvalidError{fmt.Sprintf("%q is not UTF-8", text)}
		case strings.ContainsRune(text, 0):
			return &InvalidError{fmt.Sprintf("%q contains a null byte", text)}
		}
	}
	if inv.Timeout < 0 {
		return &InvalidError{fmt.Sprintf("the timeout %v is negative", inv.Timeout)}
	}
	p := inv.Parameters
	switch {
	case p == nil:
	case len(p) > maxParameters:
		return &InvalidError{fmt.Sprintf("the parameters have %d bytes, more than %d", len(p), maxParameters)}
	case !utf8.Valid(p):
		return &InvalidError{"the parameters are not UTF-8"}
	case !json.Valid(p) || bytes.TrimSpace(p)[0] != '{':
		return &InvalidError{"the parameters are not a JSON object"}
	}
	return nil
}

// flowName is the flow's name as far as it is known without running anything. Prefect derives
// it from the function's in the same way.
func (inv *Invocation) flowName() string {
	if inv.Runtime == bundle.RuntimeExec {
		return filepath.Base(inv.Command[0])
	}
	return strings.ReplaceAll(inv.Entrypoint[strings.LastIndexAny(inv.Entrypoint, ":.")+1:], "_", "-")
}

// Run is a flow run. Its JSON is the CLI's.
type Run struct {
	ID         string             `json:"id"`
	Name       string             `json:"name"`
	State      orchestrator.State `json:"state"`
	WorkPool   string             `json:"work_pool"`
	Parameters json.RawMessage    `json:"parameters"`
	Result     json.RawMessage    `json:"result"` // null without one
	Bundle     StoredBundle       `json:"bundle"`
	Timings    Timings            `json:"timings"`

	Flow    string    `json:"-"`
	Tags    []string  `json:"-"`
	Created time.Time `json:"-"`
	Started time.Time `json:"-"` // zero before it was first RUNNING
	Ended   time.Time `json:"-"` // zero before it became final

	// ExitCode is the command's own, or 1 for a flow that failed. Where neither ended by
	// itself, it is 124 for one that ran too long, 130 for a cancelled run, else that of the
	// executor.
	ExitCode int `json:"-"`
	// Dir is the working directory that was kept, or "".
	Dir string `json:"-"`
	// Warnings are what went wrong beside the run, such as a directory that could not be
	// removed.
	Warnings []error `json:"-"`
}

// StoredBundle says where a run's bundle is, and what it took to get it there.
type StoredBundle struct {
	URL           string  `json:"url"`       // of the store
	Key           string  `json:"key"`       // of the document
	FilesKey      *string `json:"files_key"` // of the sidecar; nil when no files travel
	UploadedBytes int64   `json:"uploaded_bytes"`
	ReusedBytes   int64   `json:"reused_bytes"` // of a sidecar that was there already

	digest bundle.Digest // of the document
}

// Timings are how long each phase took. Of a run that is looked up later, Launch is counted until
// it was RUNNING.
type Timings struct {
	Collect Seconds `json:"collect"` // choosing files
	Hash    Seconds `json:"hash"`
	Upload  Seconds `json:"upload"` // packing included
	Create  Seconds `json:"create"` // the flow run
	Launch  Seconds `json:"launch"` // until the executor was started
	Run     Seconds `json:"run"`    // until it ended
}

// Seconds is a duration that JSON shows in seconds, to the microsecond.
type Seconds time.Duration

// MarshalJSON implements [json.Marshaler].
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', 6, 64), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Seconds) UnmarshalJSON(text []byte) error {
	var seconds float64
	err := json.Unmarshal(text, &seconds)
	*s = Seconds(seconds * float64(time.Second))
	return err
}

// stopwatch measures phases that follow each other.
type stopwatch struct{ last time.Time }

func (s *stopwatch) lap() Seconds {
	now := time.Now()
	d := now.Sub(s.last)
	s.last = now
	return Seconds(d)
}
