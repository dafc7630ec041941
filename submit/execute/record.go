package execute

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/flowship/flowship/storage"
	"github.com/flowship/flowship/submit/orchestrator"
)

// Record is what a run leaves beside its bundle, as JSON under [RecordKey].
type Record struct {
	ID       string             `json:"id"` // of the flow run
	State    orchestrator.State `json:"state"`
	ExitCode int                `json:"exit_code"` // as a shell would say it
	Result   json.RawMessage    `json:"result"`    // null without one
	Started  time.Time          `json:"started"`
	Ended    time.Time          `json:"ended"`

	// Told says that the orchestrator knows the state: who asks it need not be told again.
	Told bool `json:"-"`
	// Unsaid is why the run did not complete, where nobody was told and the program did not say
	// it by its own exit code; else "".
	Unsaid string `json:"-"`
}

// NotRun is the record of a run whose end is told from outside: there is nothing that it left.
func NotRun(flowRunID string, state orchestrator.State, exitCode int) *Record {
	now := time.Now().UTC()
	return &Record{ID: flowRunID, State: state, ExitCode: exitCode, Started: now, Ended: now}
}

// maxResult is the size in bytes of the largest result. In the record it is no longer than it
// was written, and what stands around it is short: a state's message at most names a path.
const (
	maxResult = 64 << 20
	maxRecord = maxResult + 1<<20
)

// RecordKey returns the key of a run's record.
func RecordKey(flowRunID string) string { return "results/" + flowRunID + ".json" }

var (
	// ErrNotRecorded: the record of a run could not be stored.
	ErrNotRecorded = errors.New("the record of the run could not be stored")
	// ErrNoRecord: the run has left no record, or none yet.
	ErrNoRecord = errors.New("no record of the run")
)

// Settle ends a run: it stores the record and then proposes its state, so that who sees a final
// state finds the record. Where another state holds, the record follows it, and a run that is
// being cancelled becomes CANCELLED. A run does not end COMPLETED whose record, hence its
// result, could not be stored: it ends CRASHED, and the error is ErrNotRecorded. With any other
// error the state is not known to hold.
//
// A run that is to be run again, as the answer says, ends CRASHED: who settles it will not do so.
//
// The url is that of the store, which open says how to open; without one nothing is recorded,
// without runs nobody is told.
func (r *Record) Settle(ctx context.Context, url string, runs orchestrator.StateSetter, open *storage.OpenOptions) error {
	if url == "" {
		return r.settle(ctx, nil, runs)
	}
	return r.settle(ctx, (&recordStore{url, open}).put, runs)
}

// putRecord stores a record under its key.
type putRecord func(ctx context.Context, key string, content []byte) error

func (r *Record) settle(ctx context.Context, put putRecord, runs orchestrator.StateSetter) error {
	var lost error
	// The second proposal follows the answer to the first; only a state that changes meanwhile
	// needs a third.
	for range 3 {
		if lost = r.record(ctx, put); lost != nil && r.State.Type == orchestrator.TypeCompleted {
			r.State, r.ExitCode, r.Result = orchestrator.NewState(orchestrator.TypeCrashed, lost.Error()), ExitUnavailable, nil
			r.record(ctx, put) // without the result, it may have room
		}
		if runs == nil {
			return lost
		}
		r.State.Data = r.data()
		out, err := runs.SetState(ctx, r.ID, r.State, nil)
		if err != nil {
			return errors.Join(errors.Unwrap(lost), err) // not ErrNotRecorded alone
		}
		if r.State = out.State; out.Status == orchestrator.Accepted {
			r.Told = true
			return lost
		}
		switch r.State.Type {
		case orchestrator.TypeCancelling:
			r.State, r.ExitCode = orchestrator.NewState(orchestrator.TypeCancelled, out.State.Message), ExitCancelled
		case orchestrator.TypeScheduled:
			r.State = orchestrator.NewState(orchestrator.TypeCrashed, "nobody is there to run it again: "+out.State.Message)
		}
	}
	return lost
}

// maxData is the size in bytes of the largest result that a state takes along.
const maxData = 64 << 10

// data is what the state itself says of the result, for those who do not see the record. An object
// with a storage key would be taken for what Prefect says of a result that is somewhere else.
func (r *Record) data() json.RawMessage {
	if r.State.Type != orchestrator.TypeCompleted || len(r.Result) > maxData {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(r.Result, &members) == nil && members["storage_key"] != nil {
		return nil
	}
	return r.Result
}

// record stores the record; a run that is run again replaces it.
func (r *Record) record(ctx context.Context, put putRecord) error {
	if put == nil {
		return nil
	}
	b, err := encodeJSON(r)
	if err == nil {
		err = put(ctx, RecordKey(r.ID), b)
	}
	if err != nil {
		return &notRecordedError{err}
	}
	return nil
}

// notRecordedError is an ErrNotRecorded with its cause.
type notRecordedError struct{ err error }

func (e *notRecordedError) Error() string        { return ErrNotRecorded.Error() + ": " + e.err.Error() }
func (e *notRecordedError) Unwrap() error        { return e.err }
func (e *notRecordedError) Is(target error) bool { return target == ErrNotRecorded }

// encodeJSON leaves characters as they were written: json.Marshal would write six bytes for a
// "<", and might make a record that is too large to be read.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// ReadRecord returns the record that a run left in the store at url, or ErrNoRecord.
func ReadRecord(ctx context.Context, url, flowRunID string, open *storage.OpenOptions) (*Record, error) {
	s, err := storage.Open(ctx, url, open)
	if err != nil {
		return nil, noRecord(flowRunID, err)
	}
	defer s.Close()
	b, err := s.ReadAll(ctx, RecordKey(flowRunID), maxRecord)
	if err != nil {
		return nil, noRecord(flowRunID, err)
	}
	r := &Record{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("execute: record of flow run %q: %w", flowRunID, err)
	}
	if r.ID != flowRunID {
		return nil, fmt.Errorf("execute: record of flow run %q is of %q", flowRunID, r.ID)
	}
	return r, nil
}

// DeleteRecord removes what a run left in the store at url, if it left anything.
func DeleteRecord(ctx context.Context, url, flowRunID string, open *storage.OpenOptions) error {
	s, err := storage.Open(ctx, url, open)
	if err == nil {
		defer s.Close()
		err = s.Delete(ctx, RecordKey(flowRunID))
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return fmt.Errorf("execute: record of flow run %q: %w", flowRunID, err)
	}
	return nil
}

func noRecord(flowRunID string, err error) error {
	if errors.Is(err, storage.ErrNotFound) {
		err = fmt.Errorf("%w: %w", ErrNoRecord, err)
	}
	return fmt.Errorf("execute: record of flow run %q: %w", flowRunID, err)
}

// readResult returns what the command wrote for its result, or nil when it wrote none.
func readResult(path string) (json.RawMessage, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("is not a regular file (%v)", info.Mode())
	case info.Size() > maxResult:
		return nil, fmt.Errorf("has %d bytes, more than %d", info.Size(), maxResult)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, new(json.RawMessage)); err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	return b, nil
}
