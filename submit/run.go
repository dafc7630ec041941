package submit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/orchestrator"
)

// CommandRun is a command to be run, and with what.
type CommandRun struct {
	// Dir is the base directory of the include patterns; "" is the current one.
	Dir string
	// Include are the patterns that select the files that travel, as Prefect reads them.
	Include []string
	// Command is the argument vector, run in a directory that holds the files.
	Command []string
	// Parameters is a JSON object of at most 16 MiB; nil is an empty one.
	Parameters json.RawMessage
	// Name is the flow run's; "" is a random one.
	Name string
	Tags []string
	// Timeout is how long the command may run; 0 is without end.
	Timeout time.Duration
	// Keep leaves the working directory behind, see [Run.Dir].
	Keep bool
	// Stdout and Stderr get the command's output as it comes; nil discards it. An *os.File
	// becomes the command's own.
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

func (c *CommandRun) check() error {
	if len(c.Command) == 0 || c.Command[0] == "" {
		return &InvalidError{"no command"}
	}
	for _, text := range slices.Concat(c.Command, c.Tags, []string{c.Name}) {
		switch {
		case !utf8.ValidString(text):
			return &InvalidError{fmt.Sprintf("%q is not UTF-8", text)}
		case strings.ContainsRune(text, 0):
			return &InvalidError{fmt.Sprintf("%q contains a null byte", text)}
		}
	}
	if c.Timeout < 0 {
		return &InvalidError{fmt.Sprintf("the timeout %v is negative", c.Timeout)}
	}
	p := c.Parameters
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

// Run is a flow run that has ended. Its JSON is the CLI's.
type Run struct {
	ID         string             `json:"id"`
	Name       string             `json:"name"`
	State      orchestrator.State `json:"state"`
	WorkPool   string             `json:"work_pool"`
	Parameters json.RawMessage    `json:"parameters"`
	Result     json.RawMessage    `json:"result"` // null without one
	Bundle     StoredBundle       `json:"bundle"`
	Timings    Timings            `json:"timings"`

	// ExitCode is the command's own or, where it did not end by itself, 124 for one that ran
	// too long, 130 for a cancelled run, else that of the executor.
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

// Timings are how long each phase took.
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

// stopwatch measures phases that follow each other.
type stopwatch struct{ last time.Time }

func (s *stopwatch) lap() Seconds {
	now := time.Now()
	d := now.Sub(s.last)
	s.last = now
	return Seconds(d)
}
