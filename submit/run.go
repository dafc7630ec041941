package submit

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/flowship/flowship/bundle"
	"github.com/flowship/flowship/submit/orchestrator"
)

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

	Flow     string              `json:"-"`
	Version  string              `json:"-"` // of the flow, as its author counts
	Tags     []string            `json:"-"`
	Labels   map[string]string   `json:"-"`
	Priority int                 `json:"-"` // the lowest goes first in a work pool
	Policy   orchestrator.Policy `json:"-"`
	Retries  int                 `json:"-"` // how often it was run again
	// JobVariables are a JSON object.
	JobVariables json.RawMessage `json:"-"`
	// Infrastructure is what the platform calls the job; "" before it was launched.
	Infrastructure string `json:"-"`

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
